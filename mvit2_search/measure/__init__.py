"""Measured latency: the protocol, its statistics, the devices, and where a search gets latencies from."""
