"""A study in sentences: the same words on the terminal and in the report."""

from mvit2_search.analysis.confirmation import Confirmed
from mvit2_search.analysis.paired import Difference
from mvit2_search.analysis.verdict import Verdict
from mvit2_search.records import Measurement, failure_sentences
from mvit2_search.report.hypervolume import HypervolumeTable
from mvit2_search.report.tables import Summary
from mvit2_search.system.text import counted

_FLAGS = {
    "drift": "the device became slower or faster while it was timed, and did so again",
    "fast": "the device runs faster than when the scale of these milliseconds was set; they are too large for it",
    "slow": "the device ran slower than it can, throughout; if it stays so, delete its folder in .latencies",
    "unsettled": "the interval stayed wider than 2 % each way",
}


def flag_sentences(measurement: Measurement) -> list[str]:
    """What is wrong with a latency, if anything is."""
    return [f"Flagged {flag}: {_FLAGS[flag]}." for flag in measurement.flags]


def budget_sentence(summary: Summary) -> str:
    """The budget as it was asked for and in milliseconds."""
    limits = summary.limits
    params = f" and {limits.max_params:,} parameters" if limits.max_params is not None else ""
    predicted = " (predicted)" if summary.passport.kind == "predicted" else ""
    resolved = "" if summary.budget.endswith("ms") else f" = {limits.latency_ms:.2f} ms{predicted}"
    return f"Budget: {summary.budget}{resolved}{params}."


def progress_sentence(summary: Summary) -> str:
    """How far the study is."""
    state = f"ended: {summary.ended}" if summary.ended else "not finished"
    control = (
        f"; {counted(summary.controls_trained, 'random one')} trained to compare with" if summary.controls else ""
    )
    trained, trials = counted(summary.candidates, "candidate"), counted(len(summary.trials), "trial")
    return f"{trained} trained, {trials} in all{control}; {state}."


def missing_sentences(summary: Summary) -> list[str]:
    """What the search does without, because it failed or ended the search too often, or was not done here."""
    trials = [*summary.all_trials, *summary.controls]
    taken = sum(t.accuracy_from is not None and t.repeats is None for t in trials)
    networks = counted(taken, "network")
    kept = f"The accuracies of {networks} were taken over from a study on another device; latencies were not."
    return [*([kept] if taken else []), *failure_sentences(trials, summary.scores, summary.untimed)]


def saving_sentence(summary: Summary) -> str:
    """How many of the search's trainings ended early, and what share of the epochs was trained."""
    saved = summary.saving
    if not saved.trainings:
        return "Nothing has been trained yet."
    trainings = counted(saved.trainings, "training")
    if saved.rule == "none":
        return f"No training is stopped early: {counted(saved.trained_epochs, 'epoch')} in {trainings}."
    percent = 100 * saved.trained_epochs / max(1, saved.all_epochs)
    were = "was" if saved.all_epochs == 1 else "were"
    share = f"{saved.trained_epochs} of {counted(saved.all_epochs, 'epoch')} {were} trained ({percent:.0f} %)"
    return f"Stopped early by {saved.rule}: {saved.stopped} of {trainings}; {share}."


def provisional_sentence(summary: Summary) -> str | None:
    """That the answer may still change and how far the confirmation is; None where the study has ended."""
    if not summary.provisional:
        return None
    progress = summary.confirmation
    if progress is None or progress.done == progress.planned:
        return "Provisional: the study has not ended; what it trains next may change the answer."
    return (
        f"Provisional: {progress.done} of at most {progress.planned} trainings of the confirmation are done; the "
        "others may change the answer."
    )


def verdict_sentences(summary: Summary) -> list[str]:
    """What came out, the answer first; before the study's end that it is provisional comes before it."""
    verdict, provisional = summary.verdict, provisional_sentence(summary)
    if verdict is None:
        return [_nothing_sentence(summary)]
    best, so_far = verdict.best, " so far" if provisional else ""
    found = "a published width: no candidate was confirmed higher" if best.trial.published else best.trial.arch.key
    highest = f" (the best of {verdict.compared}, so rather too high)" if verdict.compared > 1 else ""
    lines = [
        *([provisional] if provisional else []),
        f"Best under the budget{so_far}: {best.trial.name} ({found}), {best.mean_pct:.2f} % on images the search "
        f"never saw{highest}, {best.latency_text}, {best.trial.params:,} parameters.",
    ]
    if verdict.gain and verdict.searched and verdict.published:
        lines.append(_gain_sentence(verdict.gain, verdict.searched, verdict.published, so_far))
    elif verdict.published is None:
        lines.append(_no_width_sentence(summary))
    return [*lines, *_uneven_sentence(verdict), *_balanced_sentence(verdict), _export_sentence(verdict, so_far)]


def _uneven_sentence(verdict: Verdict) -> list[str]:
    """Why the means that are shown need not say which is better."""
    seeds = {frozenset(c.accuracy_pct) for c in (verdict.best, verdict.searched, verdict.published) if c}
    if len({*seeds, frozenset(verdict.fastest.accuracy_pct)}) == 1:
        return []
    return [
        "Not all of these have scores for the same seeds: they are compared by the seeds that they share, or by "
        "their means where they share none."
    ]


def _balanced_sentence(verdict: Verdict) -> list[str]:
    """The mean over the classes, where they are unbalanced."""
    shown = {id(c): c for c in (verdict.best, verdict.searched, verdict.published) if c}
    told = [
        f"{c.trial.name} {c.mean_balanced_pct:.2f} %" for c in shown.values() if c.mean_balanced_pct is not None
    ]
    return [f"Balanced accuracy, the mean over the unbalanced classes: {', '.join(told)}."] if told else []


def _nothing_sentence(summary: Summary) -> str:
    if summary.ended is None:
        return "Nothing under the budget has been confirmed yet."
    if summary.front:
        again = any(score.may_be_tried_again for score in summary.scores)
        more = "; the same command tries them again" if again else ""
        return f"Nothing under the budget could be confirmed: the trainings of what is within it all failed{more}."
    return f"No architecture under the budget was found: {summary.ended}."


def _no_width_sentence(summary: Summary) -> str:
    """Why there is no published width to compare with."""
    widths = [t for t in summary.all_trials if t.published]
    if within := [(t.latency.latency_ms, t.name) for t in widths if t.latency and summary.limits.allow_trial(t)]:
        _, largest = max(within)
        yet = "not confirmed yet" if summary.provisional else "not confirmed, as its trainings failed"
        return f"{largest} is within the budget and {yet}, so there is no gain to state."
    timed = {t.published for t in widths if t.latency is not None}
    could = "" if {t.published for t in widths} <= timed else " that could be timed and trained"
    return f"No published width{could} is within the budget, so there is none to compare with."


def _gain_sentence(gain: Difference, searched: Confirmed, published: Confirmed, so_far: str) -> str:
    faster = 100 * (1 - searched.latency_ms / published.latency_ms)
    predicted = "predicted " if searched.is_predicted else ""
    speed = f"at {abs(faster):.0f} % {'less' if faster >= 0 else 'more'} {predicted}latency"
    over = f"{published.trial.published} ({published.mean_pct:.2f} %)"
    head = f"Gain{so_far} of {searched.trial.name} over {over}: {gain.estimate:+.2f} points {speed}"
    if gain.pairs < 2:
        return f"{head}; {_no_interval(gain, searched, published, so_far)}."
    told = "" if gain.distinguishable else ": not distinguishable"
    choice = ""
    if gain.compared > 1:
        choice = f", both corrected for the choice among {gain.compared} candidates ({gain.mean:+.2f} before)"
    return f"{head}, 95 % interval {gain.low:+.2f} to {gain.high:+.2f} over {gain.pairs} seeds{choice}{told}."


def _no_interval(gain: Difference, searched: Confirmed, published: Confirmed, so_far: str) -> str:
    """Why nothing is known of how sure a gain is."""
    choice = f" or what the choice among {gain.compared} candidates adds" if gain.compared > 1 else ""
    if max(len(searched.accuracy_pct), len(published.accuracy_pct)) > 1:
        return f"the two share {'one seed' if gain.pairs else 'no seed'}, so nothing tells the noise{choice}"
    return f"one seed says nothing about noise{choice}{'' if so_far else ', use more --confirm-seeds'}"


def control_sentences(table: HypervolumeTable | None) -> list[str]:
    """How the search compares with random draws; nothing where there are none."""
    if table is None or table.comparison is None:
        return []
    one = table.comparison
    told = "" if one.distinguishable else ": not distinguishable"
    return [
        f"Against random: hypervolume {one.search:.1f} after "
        f"{counted(one.networks, 'trained candidate')}, {one.control:.1f} "
        f"after as many random architectures; {one.search - one.control:+.1f}, where chance alone gives "
        f"{one.low:+.1f} to {one.high:+.1f} (95 %){told}."
    ]


def _export_sentence(verdict: Verdict, so_far: str) -> str:
    """What is exported by default, and what the fastest that is as good within noise would save and cost."""
    best, fastest, lead = verdict.best, verdict.fastest, verdict.lead
    default = "this published width" if best.trial.published else "the same"
    if lead is None:
        alone = "; nothing faster is within noise of it" if len(best.accuracy_pct) > 1 else ""
        return f"To export{so_far}: {default}{alone}."
    cost = f"{lead.estimate:.2f} points" if lead.estimate > 0 else "nothing that can be told"
    saved = best.latency_ms - fastest.latency_ms
    percent = 100 * saved / best.latency_ms
    return (
        f"To export{so_far}: {default}; the fastest within noise of it, {fastest.trial.name} "
        f"({fastest.trial.arch.key}), takes {fastest.latency_text}, {saved:.2f} ms less ({percent:.0f} %), and "
        f"costs {cost}, 95 % interval {lead.low:+.2f} to {lead.high:+.2f}, both corrected for "
        f"the choice among {verdict.compared} ({lead.mean:+.2f} before): --pick fastest exports that."
    )
