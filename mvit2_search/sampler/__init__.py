"""Which network to train next, where latency is known before accuracy."""

from mvit2_search.sampler.domain import Domain, Params, Span, exactly
from mvit2_search.sampler.front import FrontSampler

__all__ = ["Domain", "FrontSampler", "Params", "Span", "exactly"]
