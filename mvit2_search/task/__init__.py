"""What the network is trained for, and its data."""
