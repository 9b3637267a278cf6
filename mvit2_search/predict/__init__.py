"""Latencies that nobody measured: predicted from those measured on a device, or estimated from published ones."""

from mvit2_search.predict.estimates import ESTIMATES, Estimate, make_estimate
from mvit2_search.predict.evaluate import HITS_PCT, Share, covered, within
from mvit2_search.predict.predictor import LEAST_MEASURED, LatencyPredictor

__all__ = [
    "ESTIMATES",
    "HITS_PCT",
    "LEAST_MEASURED",
    "Estimate",
    "LatencyPredictor",
    "Share",
    "covered",
    "make_estimate",
    "within",
]
