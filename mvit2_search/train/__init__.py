"""Training: the loop, its recipes, and the proxies that a search scores candidates by."""
