"""Networks as files that a runtime reads. Nothing is imported until a format is asked for."""

from mvit2_search.export.formats import FORMATS, export_model

__all__ = ["FORMATS", "export_model"]
