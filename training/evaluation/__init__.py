"""How good a model is: asked through the worker's own engine, judged without the defects of the published protocol."""
