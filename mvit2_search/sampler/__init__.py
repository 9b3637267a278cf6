"""Which network to try next, where latency is known before accuracy."""
