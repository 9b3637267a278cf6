"""Latencies that nobody measured: predicted from those measured on a device, or estimated from published ones."""
