"""The report of a study, as one HTML file that opens without a network."""

import pandas as pd

from mvit2_search.records import device_sentence
from mvit2_search.records.codec import to_json
from mvit2_search.report.figures import MANY, confirmation_figure, curves_figure, front_figure, hypervolume_figure
from mvit2_search.report.hypervolume import HypervolumeTable, hypervolume_table
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.report.sentences import (
    budget_sentence,
    control_sentences,
    missing_sentences,
    progress_sentence,
    saving_sentence,
    verdict_sentences,
)
from mvit2_search.report.tables import Summary, trials_frame
from mvit2_search.system.text import counted, flat

_COLUMNS = {  # of the table on the page; pareto.csv has all
    "trial": "trial",
    "outcome": "outcome",
    "published": "published width",
    "accuracy_pct": "top-1 %",
    "balanced_pct": "balanced %",
    "confirmed_pct": "confirmed %",
    "confirmed_balanced_pct": "confirmed, balanced %",
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
_NO_CONTROL = (
    "There are no random architectures to compare with: the same search with `control` 20 trains so many and "
    "draws the band that the search has to leave behind."
)


def report_html(summary: Summary) -> str:
    """The report of a study: the answer, the front, the confirmation, every trial, every input.

    The same records give the same bytes.
    """
    volumes = hypervolume_table(summary)
    sections = [
        f'<div class="answer">{paragraphs([*verdict_sentences(summary), *control_sentences(volumes)])}</div>',
        paragraphs(
            [
                budget_sentence(summary),
                device_sentence(summary.passport),
                progress_sentence(summary),
                saving_sentence(summary),
                *missing_sentences(summary),
            ]
        ),
        heading("Accuracy against latency"),
        paragraphs(_shortened(summary)),
        drawn(front_figure(summary), "front", _front_words(summary)),
        heading("Accuracy after each epoch"),
        drawn(curves_figure(summary), "curves", saving_sentence(summary)),
        heading("Hypervolume against trained architectures"),
        _hypervolume(volumes),
        heading("Confirmation"),
        _confirmation(summary),
        heading("Trials"),
        _trials(summary),
        heading("Inputs"),
        key_values(flat(to_json(summary.inputs))),
    ]
    return page(f"Study {summary.name}", sections)


def _shortened(summary: Summary) -> list[str]:
    if len(summary.all_trials) <= MANY:
        return []
    return [
        f"The figures show the front, all published widths and {MANY:,} others: accuracy against latency the most "
        "accurate, curves the newest."
    ]


def _front_words(summary: Summary) -> str:
    points = [t.latency.latency_ms for t in summary.front if t.latency is not None]
    if not points:
        return "No trial is within the budget yet."
    span = f"from {min(points):.2f} to {max(points):.2f} ms, {summary.passport.kind}"
    return f"{counted(len(points), 'trial')} on the front, {span}; the table has all."


def _hypervolume(table: HypervolumeTable | None) -> str:
    if table is None:
        return "<p>There is none before a published width and a candidate have been trained.</p>"
    accuracy, latency = table.reference
    note = (
        f"The area that the front covers from {accuracy:.2f} %, ten points below the smallest published width "
        f"that was trained (or guessing, if that is more), and from the budget of {latency:.2f} ms. Candidates "
        "do not move this reference point, as published widths are trained first; a smaller one that failed and "
        "succeeds at a later start moves it."
    )
    trained = counted(len(table.search), "trained candidate")
    words = f"After {trained} the search is at {table.search[-1]:.1f} points x ms."
    control = _NO_CONTROL
    if table.band is not None:
        architectures = counted(table.band.controls, "random architecture")
        control = (
            f"The band is that of {architectures} of the space in random orders; it "
            "narrows towards its end, where every order holds the same. Whether the search differs by more than "
            "chance is said above."
        )
        words += f" The median of {architectures} is at {table.band.median[-1]:.1f}."
    return paragraphs([note, control]) + drawn(hypervolume_figure(table), "hypervolume", words)


def _confirmation(summary: Summary) -> str:
    if not summary.confirmed:
        return "<p>Nothing has been confirmed yet.</p>"
    words = "; ".join(f"{c.trial.name}: mean {c.mean_pct:.2f} %" for c in summary.confirmed)
    note = (
        "The candidates that may be the one to export, as far as one seed can tell, and the published widths "
        "around the budget, trained again with seeds that the search did not use and scored on images that it "
        "never saw. What is distinguishably worse than the best candidate gets no further seeds. What is over the "
        "budget is shown for comparison."
    )
    assumed = (
        "The interval of the gain takes for granted that a seed does about as much to each of them and that seeds "
        "are independent. It is wider where the pair spreads more than all together, and from four seeds on where "
        "neighbouring seeds are alike; three cannot tell. What the common training images do to one of them, "
        "no number of seeds can."
    )
    return paragraphs([note, assumed]) + drawn(confirmation_figure(summary), "confirmation", words)


def _trials(summary: Summary) -> str:
    frame = trials_frame(summary)
    shown = _most(frame)
    shown["trial"] = shown["trial"].where(shown["trial"] >= 0)  # a width outside of the space is no trial
    names = _COLUMNS | {"latency_ms": f"{summary.passport.kind} ms"}
    names = {name: text for name, text in names.items() if "balanced" not in text or frame[name].notna().any()}
    note = ""
    if len(shown) < len(frame):
        note = paragraphs(
            [
                f"{len(shown):,} of {len(frame):,} trials: the front, published widths, what is confirmed, and "
                "the most accurate others; pareto.csv has all."
            ]
        )
    return note + table(shown[list(names)].rename(columns=names))


def _most(frame: pd.DataFrame) -> pd.DataFrame:
    """At most `MANY` rows: those that the report speaks of, then the most accurate; in their order."""
    spoken_of = frame["on_front"].eq(True) | frame["published"].notna() | frame["confirmed_pct"].notna()
    ranked = frame.assign(spoken_of=spoken_of).sort_values(
        ["spoken_of", "accuracy_pct"], ascending=False, kind="stable", na_position="last"
    )
    return frame.loc[ranked.index[: max(MANY, int(spoken_of.sum()))].sort_values()]
