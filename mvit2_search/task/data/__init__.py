"""Data sets: images to train on, to select by and to confirm with."""
