"""The report of a study: one HTML file that works offline."""

import pandas as pd

from mvit2_search.analysis.checked import certificate_sentence, findings_of
from mvit2_search.records import device_sentence
from mvit2_search.records.codec import to_json
from mvit2_search.report.certificate import certificate_section
from mvit2_search.report.figures import MANY, confirmation_figure, curves_figure, front_figure, hypervolume_figure
from mvit2_search.report.page import drawn, heading, key_values, page, paragraphs, table
from mvit2_search.report.sentences import (
    budget_sentence,
    control_sentences,
    progress_sentence,
    saving_sentence,
    training_sentences,
    verdict_sentences,
)
from mvit2_search.report.tables import HypervolumeTable, Summary, hypervolume_table, trainings_frame, trials_frame
from mvit2_search.system.text import counted, flat

_COLUMNS = {  # of the table on the page; pareto.csv has all
    "trial": "trial",
    "outcome": "outcome",
    "published": "published width",
    "metric": "",  # that of the task
    "balanced_pct": "balanced %",
    "confirmed_pct": "confirmed %",
    "confirmed_balanced_pct": "confirmed, balanced %",
    "latency_ms": "ms",
    "latency_low_ms": "95 % low",
    "latency_high_ms": "95 % high",
    "on_front": "on front",
    "params": "parameters",
    "macs": "multiply-adds",
    "key": "architecture",
    "flags": "flags",
    "reason": "reason",
}
_HYPERVOLUME_NOTE = (
    "The hypervolume is the area between the front and a reference point (higher is better). The reference point "
    "is {accuracy:.2f} % at the budget of {latency:.2f} ms: ten points below the smallest published width that "
    "was trained, or chance level if that is higher. Published widths are trained first, so candidates do not "
    "move it. A smaller width that fails and is trained at a later start does."
)
_BAND_NOTE = (
    "The band shows {controls} in random orders. It narrows towards its end, because there every order holds the "
    "same networks. The top of this page says whether the search differs by more than chance."
)
_NO_BAND_NOTE = (
    "There are no random networks to compare with. The same search with `control` 20 trains 20 of them and draws "
    "the band that they reach."
)
_CONFIRMATION_NOTE = (
    "Up to four candidates that are statistically tied with the best, and the published widths around the budget, "
    "are retrained with fresh seeds and scored on images that the search never saw. A candidate that is "
    "distinguishably worse than the best gets no further seeds. Networks over the budget are shown for comparison."
)
_INTERVAL_NOTE = (
    "The interval of the gain assumes that a seed changes every network by about as much and that seeds are "
    "independent. It is wider if this pair varies more than all networks together and, from four seeds on, if "
    "neighbouring seeds are correlated; three seeds cannot show that. No number of seeds shows what all trainings "
    "of one network have in common, such as the training images."
)


_TRAININGS_NOTE = (
    "Networks of this study that `mvit2-search train` trained fully, at their best epoch on the images that they "
    "were tested on. These accuracies are not comparable with those of the short trainings below."
)


def report_html(summary: Summary) -> str:
    """The report of a study: the answer, the front, the confirmation, every trial, every input.

    The same records give the same bytes.
    """
    volumes = hypervolume_table(summary)
    answer = paragraphs([*verdict_sentences(summary), *control_sentences(volumes)])
    facts = [budget_sentence(summary), device_sentence(summary.passport), progress_sentence(summary)]
    figure = drawn(front_figure(summary), "front", _front_words(summary))
    sections = ({"Full trainings": _trainings(summary)} if summary.trainings else {}) | {
        "Accuracy against latency": _shortened(summary) + figure,
        "Accuracy after each epoch": drawn(curves_figure(summary), "curves", saving_sentence(summary)),
        "Hypervolume over trained networks": _hypervolume(volumes),
        "Confirmation": _confirmation(summary),
        "Can the short trainings be trusted?": _certificate(summary),
        "Trials": _trials(summary),
        "Inputs": key_values(flat(to_json(summary.inputs))),
    }
    head = f'<div class="answer">{answer}</div>' + paragraphs([*facts, *training_sentences(summary)])
    return page(f"Study {summary.name}", [head, *(heading(name) + html for name, html in sections.items())])


def _trainings(summary: Summary) -> str:
    return paragraphs([_TRAININGS_NOTE]) + table(trainings_frame(summary))


def _shortened(summary: Summary) -> str:
    if len(summary.all_trials) <= MANY:
        return ""
    others = f"{MANY:,} other trials: here the most accurate, in the curves the newest"
    return paragraphs([f"The figures show the front, all published widths and {others}."])


def _front_words(summary: Summary) -> str:
    points = [t.latency.latency_ms for t in summary.front if t.latency is not None]
    if not points:
        return "No trial is within the budget yet."
    span = f"from {min(points):.2f} to {max(points):.2f} ms, {summary.passport.kind}"
    return f"{counted(len(points), 'trial')} on the front, {span}; the table lists all."


def _hypervolume(volumes: HypervolumeTable | None) -> str:
    if volumes is None:
        return paragraphs(["There is none until a published width and a candidate have been trained."])
    accuracy, latency = volumes.reference
    trained = counted(len(volumes.search), "trained candidate")
    words = f"After {trained} the search is at {volumes.search[-1]:.1f} points x ms."
    note = _NO_BAND_NOTE
    if volumes.band:
        controls = counted(len(volumes.band.median), "random network")
        note = _BAND_NOTE.format(controls=controls)
        words += f" The median of {controls} is at {volumes.band.median[-1]:.1f}."
    notes = paragraphs([_HYPERVOLUME_NOTE.format(accuracy=accuracy, latency=latency), note])
    return notes + drawn(hypervolume_figure(volumes), "hypervolume", words)


def _confirmation(summary: Summary) -> str:
    if not summary.confirmed:
        return paragraphs(["Nothing has been confirmed yet."])
    words = "; ".join(f"{c.trial.name}: mean {c.mean_pct:.2f} %" for c in summary.confirmed)
    notes = paragraphs([_CONFIRMATION_NOTE, _INTERVAL_NOTE])
    return notes + drawn(confirmation_figure(summary), "confirmation", words)


def _certificate(summary: Summary) -> str:
    found = findings_of(summary.check) if summary.check else None
    shown = certificate_section(summary.check, found) if summary.check and found else ""
    return paragraphs([certificate_sentence(summary.certificate)]) + shown


def _trials(summary: Summary) -> str:
    frame = trials_frame(summary)
    metric = summary.inputs.metric
    shown = _most(frame, metric.name)
    names = {metric.name if name == "metric" else name: text for name, text in _COLUMNS.items()}
    names |= {metric.name: f"{metric.short} %", "latency_ms": f"{summary.passport.kind} ms"}
    names = {name: text for name, text in names.items() if "balanced" not in text or frame[name].notna().any()}
    note = (
        f"{len(shown):,} of {len(frame):,} trials: the front, published widths, confirmed networks and the most "
        "accurate others. pareto.csv has all."
    )
    left_out = paragraphs([note]) if len(shown) < len(frame) else ""
    return left_out + table(shown[list(names)].rename(columns=names))


def _most(frame: pd.DataFrame, metric: str) -> pd.DataFrame:
    """The front, published widths, what is confirmed, then the most accurate up to `MANY` rows; in their order."""
    kept = frame["on_front"].eq(True) | frame["published"].notna() | frame["confirmed_pct"].notna()
    order = ["kept", metric]
    ranked = frame.assign(kept=kept).sort_values(order, ascending=False, kind="stable", na_position="last")
    return frame.loc[ranked.index[: max(MANY, int(kept.sum()))].sort_values()]
