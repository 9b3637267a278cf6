"""Networks built from an `ArchConfig`: their layers, formulations for export, weights and counted cost."""

from mvit2_search.models.formulations import FORMULATIONS, formulated
from mvit2_search.models.mobilevit import MobileViT, build_model, for_inference

__all__ = ["FORMULATIONS", "MobileViT", "build_model", "for_inference", "formulated"]
