"""A study in sentences: the same words on the terminal and in the report."""

from mvit2_search.paired import Difference
from mvit2_search.records import Measurement, Passport, failure_sentences
from mvit2_search.report.hypervolume import HypervolumeTable
from mvit2_search.report.tables import Summary
from mvit2_search.verdict import Confirmed, Verdict

_FLAGS = {
    "drift": "the device became slower or faster while it was timed, and did so again",
    "fast": "the device runs faster than when the study began, whose milliseconds are too large for it",
    "slow": "the device ran slower than it can, throughout; if it stays so, delete its folder in .latencies",
    "unsettled": "the interval stayed wider than 2 % each way",
}


def device_sentence(passport: Passport) -> str:
    """What the latencies were measured on, or predicted for."""
    if passport.kind == "predicted":
        return (
            f"Latencies are predicted for {passport.device}, and nothing was measured: {passport.runtime}. "
            "`mvit2-search measure` times an exported architecture where a device is at hand."
        )
    threads = f", {passport.threads} thread" if passport.threads == 1 else ""
    return (
        f"Latencies were measured with {passport.device} ({passport.chip}, {passport.system}; "
        f"{passport.runtime}, {passport.precision}, batch {passport.batch}{threads}). "
        "On other devices they differ, and so may their order."
    )


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
    control = f"; {summary.controls_trained} random ones trained to compare with" if summary.controls else ""
    return f"{summary.candidates} candidates trained, {len(summary.trials)} trials in all{control}; {state}."


def missing_sentences(summary: Summary) -> list[str]:
    """What the search does without, because it failed or ended the search too often, or was not done here."""
    trials = [*summary.all_trials, *summary.controls]
    taken = sum(t.accuracy_from is not None and t.repeats is None for t in trials)
    kept = (
        f"The accuracies of {taken} networks were taken over from a study on another device; latencies were not."
    )
    return [*([kept] if taken else []), *failure_sentences(trials, summary.scores, summary.untimed)]


def saving_sentence(summary: Summary) -> str:
    """How many of the search's trainings ended early, and what share of the epochs was trained."""
    saved = summary.saving
    if not saved.trainings:
        return "Nothing has been trained yet."
    if saved.rule == "none":
        return f"No training is stopped early: {saved.trained_epochs} epochs in {saved.trainings} trainings."
    percent = 100 * saved.trained_epochs / max(1, saved.all_epochs)
    share = f"{saved.trained_epochs} of {saved.all_epochs} epochs were trained ({percent:.0f} %)"
    return f"Stopped early by {saved.rule}: {saved.stopped} of {saved.trainings} trainings; {share}."


def verdict_sentences(summary: Summary) -> list[str]:
    """What came out, the answer first."""
    verdict = summary.verdict
    if verdict is None:
        if summary.ended is None:
            return ["Nothing under the budget has been confirmed yet."]
        return [f"No architecture under the budget was found: {summary.ended}."]
    best = verdict.best
    found = "a published width: no candidate was confirmed higher" if best.trial.baseline else best.trial.arch.key
    lines = [
        f"Best under the budget: {best.trial.name} ({found}), {best.mean_pct:.2f} % on images the search never "
        f"saw, {best.latency_text}, {best.trial.params:,} parameters."
    ]
    if verdict.gain and verdict.searched and verdict.published:
        lines.append(_gain_sentence(verdict.gain, verdict.searched, verdict.published))
    elif verdict.published is None:
        lines.append("No published width is within the budget, so there is none to compare with.")
    return [*lines, _pick_sentence(verdict)]


def _gain_sentence(gain: Difference, searched: Confirmed, published: Confirmed) -> str:
    faster = 100 * (1 - searched.latency_ms / published.latency_ms)
    predicted = "predicted " if searched.is_predicted else ""
    speed = f"at {abs(faster):.0f} % {'less' if faster >= 0 else 'more'} {predicted}latency"
    over = f"{published.trial.baseline} ({published.mean_pct:.2f} %)"
    head = f"Gain of {searched.trial.name} over {over}: {gain.mean:+.2f} points {speed}"
    if gain.pairs < 2:
        return f"{head}; one seed says nothing about noise, use more --confirm-seeds."
    told = "" if gain.distinguishable else ": not distinguishable"
    choice = f", corrected for the choice among {gain.compared} candidates" if gain.compared > 1 else ""
    return f"{head}, 95 % interval {gain.low:+.2f} to {gain.high:+.2f} over {gain.pairs} seeds{choice}{told}."


def control_sentences(table: HypervolumeTable | None) -> list[str]:
    """How the search compares with random draws; nothing where there are none."""
    if table is None or table.comparison is None:
        return []
    one = table.comparison
    told = "" if one.distinguishable else ": not distinguishable"
    return [
        f"Against random: hypervolume {one.search:.1f} after {one.networks} trained candidates, {one.control:.1f} "
        f"after as many random architectures; {one.search - one.control:+.1f}, where chance alone gives "
        f"{one.low:+.1f} to {one.high:+.1f} (95 %){told}."
    ]


def _pick_sentence(verdict: Verdict) -> str:
    pick = verdict.pick
    if pick is verdict.best:
        return "To export: the same; nothing faster is within noise of the best confirmed accuracy."
    return (
        f"To export: {pick.trial.name} ({pick.trial.arch.key}), the fastest within noise of the best confirmed "
        f"accuracy: {pick.mean_pct:.2f} %, {pick.latency_text}."
    )
