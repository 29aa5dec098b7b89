"""What the stages learn from: readers of other people's files, validation, splits, images as the worker serves them."""
