"""The pages of the console: server-rendered, with small modules of JavaScript, over the API that programs have too."""
