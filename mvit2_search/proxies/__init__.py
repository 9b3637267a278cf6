"""Cheap estimates of how accurate an architecture will be."""

from mvit2_search.proxies.protocol import EpochScore, Proxy
from mvit2_search.proxies.short_train import ShortTrain

__all__ = ["EpochScore", "Proxy", "ShortTrain"]
