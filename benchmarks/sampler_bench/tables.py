"""The comparison of samplers as rows of plain values, as tables of text, and as files."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
from sampler_bench.peers import KNOWS
from sampler_bench.problems import make_problem
from sampler_bench.run import SearchBench
from sampler_bench.search import SearchRow, marks
from scipy.stats import t

from mvit2_search.report.bench_files import BenchReport, csv_text, section
from mvit2_search.report.bench_tables import Row, Titled
from mvit2_search.report.figures import LAYOUT
from mvit2_search.report.page import drawn, page, paragraphs

SEARCH_NOTES = (
    "Gap: the share of the true front's hypervolume that the evaluated settings miss, in %; mean over seeds and "
    "95 % interval (Student's t). Settings that are evaluated again count as evaluations; duplicates are their "
    "share. Seconds are the sampler's processor time per evaluation, on one thread.",
    f"A sampler whose name ends in {KNOWS} knows the latency of its proposals: those that have been evaluated, "
    "are not faster than the reference, or are hopeless at their latency are drawn again for free. Hopeless: an "
    "evaluated one that is at least as fast is as accurate as mean + 2 standard deviations of the 15 evaluated "
    "ones nearest in latency. For one evaluation a sampler is asked up to ten times, a slow one (gp, qlognehvi) "
    "twice; then the first hopeless proposal is evaluated, or random settings if all were evaluated or too slow.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """A mean over seeds, with half the width of its 95 % interval; a single seed has none."""

    value: float
    margin: float | None

    def __str__(self) -> str:
        return f"{self.value:.2f}" + ("" if self.margin is None else f" ± {self.margin:.2f}")


@dataclass(frozen=True, kw_only=True, slots=True)
class Standing:
    """One sampler on one problem, over its seeds."""

    problem: str
    peer: str
    by: str
    seeds: list[int]
    evaluations: int
    gap_pct: dict[int, Mean]
    duplicates_pct: float
    sampler_s: float


def mean_of(values: Sequence[float]) -> Mean:
    """The mean and half the width of its 95 % interval (Student's t, independent values)."""
    n = len(values)
    if n < 2:
        return Mean(value=float(values[0]), margin=None)
    error = float(np.std(values, ddof=1)) / math.sqrt(n)
    return Mean(value=float(np.mean(values)), margin=float(t.ppf(0.975, n - 1)) * error)


def standings(bench: SearchBench, problem: str) -> list[Standing]:
    """One per sampler, in the order in which they were asked for."""
    return [
        _standing([row for row in bench.rows if (row.problem, row.peer) == (problem, peer)])
        for peer in bench.peers
    ]


def search_rows(bench: SearchBench) -> list[Row]:
    """One row per problem and sampler."""
    return [
        {
            "problem": problem,
            "reference_accuracy": make_problem(problem).reference[0],
            "reference_latency": make_problem(problem).reference[1],
            "sampler": one.peer,
            "by": one.by,
            "seeds": len(one.seeds),
            "first_seed": one.seeds[0],
            "evaluations": one.evaluations,
            **_gap_cells(one, bench.evaluations),
            "duplicates_pct": one.duplicates_pct,
            "sampler_s": one.sampler_s,
        }
        for problem in bench.problems
        for one in standings(bench, problem)
    ]


def search_table(bench: SearchBench, problem: str) -> Titled:
    """One row per sampler."""
    accuracy, latency = make_problem(problem).reference
    table = [
        {
            "sampler": one.peer,
            **{f"gap % at {mark}": str(one.gap_pct.get(mark, "")) for mark in marks(bench.evaluations)},
            "duplicates %": f"{one.duplicates_pct:.1f}",
            "s per trial": f"{one.sampler_s:.4f}",
            "seeds": str(len(one.seeds)),
            "evaluations": str(one.evaluations),
        }
        for one in standings(bench, problem)
    ]
    return Titled(problem, f"Reference point: accuracy {accuracy:.4g}, latency {latency:.4g}.", table)


def search_report(bench: SearchBench) -> BenchReport:
    """`search.csv` and `search.html`, beside the rows that they come from."""
    rows, tables = search_rows(bench), [search_table(bench, problem) for problem in bench.problems]
    sections = [paragraphs(SEARCH_NOTES)]
    for problem, shown in zip(bench.problems, tables, strict=True):
        figure = drawn(gap_figure(standings(bench, problem)), problem, f"The gaps of the table above, {problem}.")
        sections += [section(shown), figure]
    return BenchReport(
        data={"samplers": rows},
        tables=tables,
        sentences=SEARCH_NOTES,
        files={
            "search/search.csv": csv_text(rows, {}),
            "search/search.html": page("Samplers compared on problems whose front is known", sections),
        },
    )


def gap_figure(found: list[Standing]) -> go.Figure:
    """The mean gap after so many evaluations, one line per sampler."""
    figure = go.Figure(layout=LAYOUT)
    for one in found:
        means = list(one.gap_pct.values())
        figure.add_scatter(
            x=list(one.gap_pct),
            y=[mean.value for mean in means],
            error_y={"array": [mean.margin or 0 for mean in means], "thickness": 1},
            name=one.peer,
            mode="lines+markers",
            line={"width": 1},
        )
    figure.update_xaxes(title="evaluations")
    figure.update_yaxes(title="gap in % (bars: 95 % interval)", rangemode="tozero")
    return figure


def _standing(rows: list[SearchRow]) -> Standing:
    first = rows[0]
    return Standing(
        problem=first.problem,
        peer=first.peer,
        by=first.by,
        seeds=[row.seed for row in rows],
        evaluations=first.evaluations,
        gap_pct={mark: mean_of([row.gap_pct[mark] for row in rows]) for mark in first.gap_pct},
        duplicates_pct=float(np.mean([row.duplicates_pct for row in rows])),
        sampler_s=float(np.mean([row.sampler_s for row in rows])),
    )


def _gap_cells(one: Standing, evaluations: int) -> Row:
    cells: Row = {}
    for mark in marks(evaluations):
        gap = one.gap_pct.get(mark)
        cells |= {f"gap_{mark}_pct": gap and gap.value, f"gap_{mark}_margin_pct": gap and gap.margin}
    return cells
