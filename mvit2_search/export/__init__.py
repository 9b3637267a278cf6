"""Networks as files that a runtime reads. An exporter is imported when its format is asked for."""

from mvit2_search.export.formats import export_model, export_module

__all__ = ["export_model", "export_module"]
