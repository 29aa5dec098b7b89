"""How a threshold is certified: the tests, the order in which they are made, and the promises made of them."""
