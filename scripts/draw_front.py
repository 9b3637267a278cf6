"""Draw a study's accuracy against latency as a PNG: `python scripts/draw_front.py results/first docs/front.png`.

Needs matplotlib, which `pip install '.[dev]'` brings.
"""

import sys
from collections.abc import Sequence
from pathlib import Path

import matplotlib

from mvit2_search.api import read_study
from mvit2_search.records import Finished, Trial
from mvit2_search.report.tables import Summary

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # after the backend that needs no screen


def main(folder: str, target: str) -> None:
    summary = read_study(Path(folder))
    figure, axes = plt.subplots(figsize=(8, 4.5), dpi=120)
    others = [t for t in summary.all_trials if not t.published and t not in summary.front]
    _draw(axes, others, "other candidates", "o", "0.6")
    published = [t for t in summary.all_trials if t.published]
    _draw(axes, published, "published widths", "D", "tab:orange", line=":")
    _draw(axes, summary.front, "Pareto front", "o", "tab:blue", line="-")
    axes.axvline(summary.limits.latency_ms, color="0.3", linestyle="--", label="latency budget")
    axes.set_xlabel(_axis(summary))
    axes.set_ylabel("top-1 accuracy in %, short training")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(target)


def _draw(
    axes: "plt.Axes", trials: Sequence[Trial], label: str, marker: str, color: str, *, line: str = ""
) -> None:
    points = sorted(
        (t.outcome.latency.latency_ms, t.outcome.score) for t in trials if isinstance(t.outcome, Finished)
    )
    if points:
        axes.plot(*zip(*points, strict=True), label=label, marker=marker, color=color, linestyle=line or "None")


def _axis(summary: Summary) -> str:
    return f"latency in ms, {summary.passport.kind}: {summary.passport.device}"


if __name__ == "__main__":
    main(*sys.argv[1:])
