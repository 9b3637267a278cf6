"""A study in sentences, the same on the terminal and in the report."""

from mvit2_search.analysis.confirmation import Confirmed
from mvit2_search.analysis.paired import Difference
from mvit2_search.analysis.verdict import Verdict
from mvit2_search.records import Measurement, failure_sentences
from mvit2_search.report.tables import HypervolumeTable, Summary, hypervolume_table
from mvit2_search.stopping import Audit
from mvit2_search.system.text import counted

_FLAGS = {
    "drift": "the device changed its speed during the timing, and again when the timing was repeated",
    "fast": "the device is faster now than when its time scale was set, so these milliseconds are too large",
    "slow": "the device ran slower than it can the whole time; if this persists, delete its folder in .latencies",
    "unsettled": "the 95 % interval stayed wider than 2 % each way",
}


def flag_sentences(measurement: Measurement) -> list[str]:
    return [f"Flagged {flag}: {_FLAGS[flag]}." for flag in measurement.flags]


def budget_sentence(summary: Summary) -> str:
    """The budget as it was asked for and in milliseconds."""
    limits = summary.limits
    params = "" if limits.max_params is None else f", at most {limits.max_params:,} parameters"
    predicted = " (predicted)" if summary.passport.kind == "predicted" else ""
    resolved = "" if summary.budget.endswith("ms") else f" = {limits.latency_ms:.2f} ms{predicted}"
    return f"Budget: {summary.budget}{resolved}{params}."


def progress_sentence(summary: Summary) -> str:
    state = f"finished: {summary.ended}" if summary.ended else "not finished"
    control = counted(summary.controls_trained, "random network")
    compared = f"; {control} trained for comparison" if summary.controls else ""
    trained, trials = counted(summary.candidates, "candidate"), counted(len(summary.trials), "trial")
    return f"{trained} trained, {trials} in total{compared}; {state}."


def training_sentences(summary: Summary) -> list[str]:
    """What early stopping saved, what was reused, and what the search lacks because it failed."""
    trials = [*summary.all_trials, *summary.controls]
    lines = [saving_sentence(summary), *audit_sentences(summary.audit)]
    if reused := sum(t.accuracy_from is not None and t.repeats is None for t in trials):
        networks = counted(reused, "network")
        lines.append(f"Reused from a study on another device: the accuracies of {networks}, but no latencies.")
    return [*lines, *failure_sentences(trials, summary.scores, summary.untimed)]


def saving_sentence(summary: Summary) -> str:
    """How many of the search's trainings were stopped early, and what share of the epochs was trained."""
    saved = summary.saving
    trainings, trained = counted(saved.trainings, "training"), counted(saved.trained_epochs, "epoch")
    if not saved.trainings:
        return "Nothing has been trained yet."
    if saved.rule == "none":
        return f"Early stopping is off: {trained} in {trainings}."
    percent = 100 * saved.trained_epochs / max(1, saved.all_epochs)
    share = f"trained {saved.trained_epochs} of {counted(saved.all_epochs, 'epoch')} ({percent:.0f} %)"
    stopped = f"Stopped early by {saved.rule}: {saved.stopped} of {trainings}"
    if not saved.spared:
        return f"{stopped}; {share}."
    return f"{stopped}; {saved.spared} more went on as an audit, {saved.missed} to above their bound; {share}."


def audit_sentences(audit: Audit | None) -> list[str]:
    """How often early stopping would have been wrong, and whether it may act; none for a rule without audit."""
    if audit is None:
        return []
    if not audit.audited:
        return ["Audit: no whole training would have been ended so far, so early stopping waits."]
    whole, acts = counted(audit.audited, "whole training"), "may act" if audit.vouches else "waits"
    return [
        f"Audit: judged by all others, the bound alone would have ended {whole}; {audit.missed} of them ended "
        f"above it (miss rate {100 * audit.low:.0f} to {100 * audit.high:.0f} %, 95 %). "
        f"So it {acts}: the interval has to end at or below {100 * audit.most_missed:.0f} %."
    ]


def provisional_sentence(summary: Summary) -> str | None:
    """That the answer may still change and how far the confirmation is; None for a finished study."""
    if not summary.provisional:
        return None
    progress = summary.confirmation
    if progress is None or progress.done == progress.planned:
        return "Provisional: the study is not finished, so the answer may still change."
    done = f"{progress.done} of at most {progress.planned} confirmation trainings are done"
    return f"Provisional: {done}, so the answer may still change."


def answer_sentences(summary: Summary) -> list[str]:
    """The verdict, then the comparison with random networks if there are any."""
    return [*verdict_sentences(summary), *control_sentences(hypervolume_table(summary))]


def verdict_sentences(summary: Summary) -> list[str]:
    """The answer first; before it, if the study is not finished, that it is provisional."""
    verdict, provisional = summary.verdict, provisional_sentence(summary)
    if verdict is None:
        return [_nothing_sentence(summary)]
    so_far = " so far" if provisional else ""
    lines = [provisional] if provisional else []
    lines.append(_best_sentence(verdict, so_far))
    if verdict.gain and verdict.searched and verdict.published:
        lines.append(_gain_sentence(verdict.gain, verdict.searched, verdict.published, so_far))
    elif verdict.published is None:
        lines.append(_no_width_sentence(summary))
    return [*lines, *_uneven_sentence(verdict), *_balanced_sentence(verdict), _export_sentence(verdict, so_far)]


def _nothing_sentence(summary: Summary) -> str:
    if summary.ended is None:
        return "No network within the budget has been confirmed yet."
    if summary.front:
        again = any(score.may_be_tried_again for score in summary.scores)
        more = " The same command tries them again." if again else ""
        return f"No network within the budget could be confirmed: all their confirmation trainings failed.{more}"
    return f"No network within the budget was found: {summary.ended}."


def _best_sentence(verdict: Verdict, so_far: str) -> str:
    best = verdict.best
    found = "a published width: no candidate scored higher" if best.trial.published else best.trial.arch.key
    chosen = f" (slightly optimistic, as it is the best of {verdict.compared})" if verdict.compared > 1 else ""
    return (
        f"Best within the budget{so_far}: {best.trial.name} ({found}), {best.mean_pct:.2f} % on images the search "
        f"never saw{chosen}, {best.latency_text}, {best.trial.params:,} parameters."
    )


def _gain_sentence(gain: Difference, searched: Confirmed, published: Confirmed, so_far: str) -> str:
    faster = 100 * (1 - searched.latency_ms / published.latency_ms)
    predicted = "predicted " if searched.is_predicted else ""
    head = (
        f"Gain{so_far} of {searched.trial.name} over {published.trial.published} ({published.mean_pct:.2f} %): "
        f"{gain.estimate:+.2f} points at {abs(faster):.0f} % {'lower' if faster >= 0 else 'higher'} "
        f"{predicted}latency"
    )
    choice = f"choosing the best of {gain.compared} candidates"
    if gain.pairs < 2:
        uncorrected = f", and it is not corrected for {choice}" if gain.compared > 1 else ""
        return f"{head}. It has no interval{uncorrected}: {_too_few_seeds(gain, searched, published, so_far)}."
    tied = "" if gain.distinguishable else ": statistically tied"
    corrected = (
        f" Gain and interval are corrected for {choice} (uncorrected {gain.mean:+.2f})."
        if gain.compared > 1
        else ""
    )
    return f"{head}, {_interval(gain)} over {gain.pairs} seeds{tied}.{corrected}"


def _too_few_seeds(gain: Difference, searched: Confirmed, published: Confirmed, so_far: str) -> str:
    if max(len(searched.scores), len(published.scores)) > 1:
        return f"the two share {'only one' if gain.pairs else 'no'} seed"
    return f"one seed shows no noise{'' if so_far else '; raise `confirm_seeds`'}"


def _interval(difference: Difference) -> str:
    return f"95 % interval {difference.low:+.2f} to {difference.high:+.2f}"


def _no_width_sentence(summary: Summary) -> str:
    """Why there is no published width to compare with."""
    widths = [t for t in summary.all_trials if t.published]
    if within := [(t.latency.latency_ms, t.name) for t in widths if t.latency and summary.limits.allow_trial(t)]:
        _, largest = max(within)
        why = "is not confirmed yet" if summary.provisional else "could not be confirmed: its trainings failed"
        return f"No gain to report: {largest} is within the budget but {why}."
    timed = {t.published for t in widths if t.latency is not None}
    usable = "" if {t.published for t in widths} <= timed else " that could be timed and trained"
    return f"No gain to report: no published width{usable} is within the budget."


def _uneven_sentence(verdict: Verdict) -> list[str]:
    """Why the means that are shown need not tell which is better."""
    shown = [verdict.best, verdict.searched, verdict.published, verdict.fastest]
    uneven = (
        "Not all of these were trained with the same seeds: they are compared by the seeds they share, or by the "
        "means if they share none."
    )
    return [uneven] if len({frozenset(one.scores) for one in shown if one}) > 1 else []


def _balanced_sentence(verdict: Verdict) -> list[str]:
    """The mean over the classes, where they are unbalanced."""
    shown = {id(c): c for c in (verdict.best, verdict.searched, verdict.published) if c}.values()
    found = [f"{c.trial.name} {c.mean_balanced_pct:.2f} %" for c in shown if c.mean_balanced_pct is not None]
    return [f"Balanced accuracy (mean over the unbalanced classes): {', '.join(found)}."] if found else []


def _export_sentence(verdict: Verdict, so_far: str) -> str:
    """What is exported by default, and what the fastest network tied with it would save and cost."""
    best, fastest, lead = verdict.best, verdict.fastest, verdict.lead
    default = f"To export{so_far}: {best.trial.name}"
    if lead is None:
        alone = ", as no faster network is statistically tied with it" if len(best.scores) > 1 else ""
        return f"{default}{alone}."
    saved = best.latency_ms - fastest.latency_ms
    percent = 100 * saved / best.latency_ms
    cost = f"{lead.estimate:.2f} points" if lead.estimate > 0 else "no measurable accuracy"
    return (
        f"{default}. The fastest network statistically tied with it is {fastest.trial.name} "
        f"({fastest.trial.arch.key}): {fastest.latency_text}, which saves {saved:.2f} ms ({percent:.0f} %) and "
        f"costs {cost}, {_interval(lead)}. Cost and interval are corrected for choosing the best of "
        f"{verdict.compared} (uncorrected {lead.mean:+.2f}). `pick` fastest exports it."
    )


def control_sentences(table: HypervolumeTable | None) -> list[str]:
    """How the search compares with random networks; nothing if there are none."""
    if table is None or table.comparison is None:
        return []
    one = table.comparison
    verdict = "" if one.distinguishable else ": no more than chance"
    return [
        f"Compared with random networks: hypervolume {one.search:.1f} after "
        f"{counted(one.networks, 'trained candidate')}, {one.control:.1f} after as many random networks. The "
        f"difference is {one.search - one.control:+.1f}; chance alone gives {one.low:+.1f} to {one.high:+.1f} "
        f"(95 %){verdict}."
    ]
