"""The stages that teach a model to say how sure it is, and the drawn scenes they are tried on."""
