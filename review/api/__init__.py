"""The HTTP API of the review room: everything that the console does, for programs too."""
