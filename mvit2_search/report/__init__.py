"""A study as people read it: tables first, drawn second, one offline file last (`report.html`)."""

from mvit2_search.report.tables import Summary, control_frame, summarise, trials_frame

__all__ = ["Summary", "control_frame", "summarise", "trials_frame"]
