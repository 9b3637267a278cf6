"""Networks as files that a runtime reads, each compared with PyTorch before it is used."""
