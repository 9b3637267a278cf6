"""Statistics of a search: fronts, finalists, the verdict and its interval, rank correlation."""
