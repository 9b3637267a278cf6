"""Networks built from an `ArchConfig`, other ways to write them down, their weights, and what they cost."""

from mvit2_search.models.formulations import FORMULATIONS, formulated
from mvit2_search.models.mobilevit import MobileViT, build_model, for_inference

__all__ = ["FORMULATIONS", "MobileViT", "build_model", "for_inference", "formulated"]
