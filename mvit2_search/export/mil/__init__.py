"""Saved Core ML packages, read and executed without Core ML: a second opinion on what was written."""
