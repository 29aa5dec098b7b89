"""What is asked of the model, and how its answer is read."""
