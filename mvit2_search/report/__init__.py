"""A study as people read it: tables first, drawn second, one offline file last."""

from mvit2_search.report.html import report_html
from mvit2_search.report.tables import Summary, summarise, trials_frame

__all__ = ["Summary", "report_html", "summarise", "trials_frame"]
