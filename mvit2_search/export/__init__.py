"""Networks as files that a runtime reads. An exporter is imported when its format is asked for."""

from mvit2_search.export.formats import export_model, export_module
from mvit2_search.export.proof import Written, verify_network
from mvit2_search.export.untrained import untrained_network
from mvit2_search.export.verify import Agreement, open_artifact, verify, widest_leads

__all__ = [
    "Agreement",
    "Written",
    "export_model",
    "export_module",
    "open_artifact",
    "untrained_network",
    "verify",
    "verify_network",
    "widest_leads",
]
