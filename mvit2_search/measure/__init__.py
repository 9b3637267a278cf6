"""Measured latencies: the devices, the protocol and its statistics, and where a search gets latencies from."""
