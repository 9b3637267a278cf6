"""One HTML file that opens without a network."""

from html import escape

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from mvit2_search.flat import flat
from mvit2_search.report.figures import MANY, confirmation_figure, front_figure
from mvit2_search.report.sentences import (
    budget_sentence,
    device_sentence,
    progress_sentence,
    verdict_sentences,
)
from mvit2_search.report.tables import Summary, trials_frame

_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:"
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; color: #1a1a1a }
h1 { font-size: 1.5rem } h2 { font-size: 1.15rem; margin-top: 2.5rem }
.answer { font-size: 1.1rem; border-left: 4px solid #0072b2; padding-left: 1rem }
.scroll { overflow-x: auto; max-height: 32rem } table { border-collapse: collapse; font-size: .85rem }
th, td { padding: .25rem .6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
.inputs td { text-align: left }
th { position: sticky; top: 0; background: #fff }
code { background: #f2f2f2; padding: .1rem .3rem }
"""
_COLUMNS = {  # of the table on the page; pareto.csv has all
    "trial": "trial",
    "outcome": "outcome",
    "baseline": "published width",
    "accuracy_pct": "top-1 %",
    "confirmed_pct": "confirmed %",
    "latency_ms": "latency ms",
    "latency_low_ms": "low",
    "latency_high_ms": "high",
    "on_front": "on front",
    "params": "parameters",
    "macs": "multiply-adds",
    "key": "architecture",
    "flags": "flags",
    "reason": "reason",
}


def report_html(summary: Summary) -> str:
    """The report of a study: the answer, the front, the confirmation, every trial, every input.

    The same records give the same bytes.
    """
    title = f"Study {escape(summary.name)}"
    sections = [
        f"<h1>{title}</h1>",
        f'<div class="answer">{_paragraphs(verdict_sentences(summary))}</div>',
        _paragraphs([budget_sentence(summary), device_sentence(summary.passport), progress_sentence(summary)]),
        "<h2>Accuracy against latency</h2>",
        _figure(front_figure(summary), "front", _front_words(summary)),
        "<h2>Confirmation</h2>",
        _confirmation(summary),
        "<h2>Trials</h2>",
        _trials(summary),
        "<h2>Inputs</h2>",
        _inputs(summary),
    ]
    return (
        f'<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        f"<title>{title}</title>\n<style>{_STYLE}</style>\n"
        f"<script>{get_plotlyjs()}</script>\n</head>\n<body>\n" + "\n".join(sections) + "\n</body>\n</html>\n"
    )


def _paragraphs(lines: list[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _figure(figure: go.Figure, name: str, words: str) -> str:
    drawn = figure.to_html(
        full_html=False, include_plotlyjs=False, div_id=name, default_height="32rem", config={"displaylogo": False}
    )
    return f'<div role="img" aria-label="{escape(words)}">{drawn}</div>'


def _front_words(summary: Summary) -> str:
    points = [t.measurement.latency_ms for t in summary.front if t.measurement is not None]
    if not points:
        return "No trial is within the budget yet."
    return f"{len(points)} trials on the front, from {min(points):.2f} to {max(points):.2f} ms; the table has all."


def _confirmation(summary: Summary) -> str:
    if not summary.confirmed:
        return "<p>Nothing has been confirmed yet.</p>"
    words = "; ".join(f"{c.trial.name}: mean {c.mean_pct:.2f} %" for c in summary.confirmed)
    note = (
        "The finalists and the published widths around the budget, trained again with seeds that the search "
        "did not use and scored on images that it never saw. What is over the budget is shown for comparison."
    )
    return f"<p>{note}</p>" + _figure(confirmation_figure(summary), "confirmation", words)


def _trials(summary: Summary) -> str:
    frame = trials_frame(summary)[list(_COLUMNS)].rename(columns=_COLUMNS)
    note = ""
    if len(frame) > MANY:
        note = f"<p>The {MANY:,} most accurate of {len(frame):,} trials; pareto.csv has all.</p>"
        frame = frame.nlargest(MANY, "top-1 %").sort_index()
    table = frame.to_html(index=False, na_rep="", float_format=lambda value: f"{value:.2f}", border=0)
    return f'{note}<div class="scroll">{table}</div>'


def _inputs(summary: Summary) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in flat(summary.inputs))
    return f'<div class="scroll inputs"><table>{rows}</table></div>'
