"""Files of anybody's predictions: read, scored, certified, reported."""
