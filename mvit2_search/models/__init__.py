"""Networks built from an `ArchConfig`, and what they cost."""

from mvit2_search.models.mobilevit import build_model

__all__ = ["build_model"]
