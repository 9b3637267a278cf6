"""Saved networks, run by the libraries that they are for: exports are compared by these, and devices time them."""
