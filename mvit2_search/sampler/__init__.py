"""Samplers: which network to try next, given its latency before its accuracy."""
