"""A study as people read it: tables first, drawn second, one offline file last."""

from mvit2_search.report.html import report_html
from mvit2_search.report.tables import Summary, control_frame, summarise, trials_frame

__all__ = ["Summary", "control_frame", "report_html", "summarise", "trials_frame"]
