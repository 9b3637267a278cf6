"""The report of a study, as one HTML file that opens without a network."""

from mvit2_search.flat import flat
from mvit2_search.report.curves import curves_figure
from mvit2_search.report.figures import MANY, confirmation_figure, front_figure
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.report.sentences import (
    budget_sentence,
    device_sentence,
    progress_sentence,
    saving_sentence,
    verdict_sentences,
)
from mvit2_search.report.tables import Summary, trials_frame

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
    sections = [
        f'<div class="answer">{paragraphs(verdict_sentences(summary))}</div>',
        paragraphs(
            [
                budget_sentence(summary),
                device_sentence(summary.passport),
                progress_sentence(summary),
                saving_sentence(summary),
            ]
        ),
        heading("Accuracy against latency"),
        drawn(front_figure(summary), "front", _front_words(summary)),
        heading("Accuracy after each epoch"),
        drawn(curves_figure(summary), "curves", saving_sentence(summary)),
        heading("Confirmation"),
        _confirmation(summary),
        heading("Trials"),
        _trials(summary),
        heading("Inputs"),
        key_values(flat(summary.inputs)),
    ]
    return page(f"Study {summary.name}", sections)


def _front_words(summary: Summary) -> str:
    points = [t.latency.latency_ms for t in summary.front if t.latency is not None]
    if not points:
        return "No trial is within the budget yet."
    span = f"from {min(points):.2f} to {max(points):.2f} ms, {summary.passport.kind}"
    return f"{len(points)} trials on the front, {span}; the table has all."


def _confirmation(summary: Summary) -> str:
    if not summary.confirmed:
        return "<p>Nothing has been confirmed yet.</p>"
    words = "; ".join(f"{c.trial.name}: mean {c.mean_pct:.2f} %" for c in summary.confirmed)
    note = (
        "The finalists and the published widths around the budget, trained again with seeds that the search "
        "did not use and scored on images that it never saw. What is over the budget is shown for comparison."
    )
    return paragraphs([note]) + drawn(confirmation_figure(summary), "confirmation", words)


def _trials(summary: Summary) -> str:
    names = _COLUMNS | {"latency_ms": f"{summary.passport.kind} ms"}
    frame = trials_frame(summary)[list(names)].rename(columns=names)
    if len(frame) <= MANY:
        return table(frame)
    note = f"The {MANY:,} most accurate of {len(frame):,} trials; pareto.csv has all."
    return paragraphs([note]) + table(frame.nlargest(MANY, "top-1 %").sort_index())
