"""A study in sentences: the same words on the terminal and in the report."""

from mvit2_search.records import Passport
from mvit2_search.report.tables import Summary
from mvit2_search.verdict import Confirmed, Difference, Verdict


def device_sentence(passport: Passport) -> str:
    """What the latencies were measured on."""
    threads = f", {passport.threads} thread" if passport.threads == 1 else ""
    return (
        f"Latencies were measured with {passport.device} ({passport.chip}, {passport.system}; "
        f"{passport.runtime}, {passport.precision}, batch {passport.batch}{threads}). "
        "On other devices they differ, and so may their order."
    )


def budget_sentence(summary: Summary) -> str:
    """The budget as it was asked for and in milliseconds."""
    limits = summary.limits
    params = f" and {limits.max_params:,} parameters" if limits.max_params is not None else ""
    resolved = "" if summary.budget.endswith("ms") else f" = {limits.latency_ms:.2f} ms"
    return f"Budget: {summary.budget}{resolved}{params}."


def verdict_sentences(summary: Summary) -> list[str]:
    """What came out, the answer first."""
    verdict = summary.verdict
    if verdict is None:
        if summary.ended is None:
            return ["No candidate under the budget has been confirmed yet."]
        return [f"No architecture under the budget was found: {summary.ended}."]
    best = verdict.best
    lines = [
        f"Best under the budget: trial {best.trial.number} ({best.trial.arch.key}), {best.mean_pct:.2f} % "
        f"on images the search never saw, {best.latency_ms:.2f} ms, {best.trial.params:,} parameters."
    ]
    if verdict.published is None or verdict.gain is None:
        lines.append("No published width is within the budget, so there is none to compare with.")
    else:
        lines.append(gain_sentence(verdict.gain, best, verdict.published))
    lines.append(_pick_sentence(verdict))
    return lines


def gain_sentence(gain: Difference, best: Confirmed, published: Confirmed) -> str:
    """The gain over the published width with its noise."""
    faster = 100 * (1 - best.latency_ms / published.latency_ms)
    speed = f"at {abs(faster):.0f} % {'less' if faster >= 0 else 'more'} latency"
    head = f"Gain over {published.trial.baseline} ({published.mean_pct:.2f} %): {gain.mean:+.2f} points {speed}"
    if gain.pairs < 2:
        return f"{head}; one seed says nothing about noise, use more --confirm-seeds."
    told = "" if gain.distinguishable else ": not distinguishable"
    return f"{head}, 95 % interval {gain.low:+.2f} to {gain.high:+.2f} over {gain.pairs} seeds{told}."


def _pick_sentence(verdict: Verdict) -> str:
    pick = verdict.pick
    if pick is verdict.best:
        return "To export: the same; nothing faster is within noise of the best confirmed accuracy."
    name = pick.trial.baseline or f"trial {pick.trial.number}"
    return (
        f"To export: {name} ({pick.trial.arch.key}), the fastest within noise of the best confirmed accuracy: "
        f"{pick.mean_pct:.2f} %, {pick.latency_ms:.2f} ms."
    )
