"""The comparison of samplers as rows of plain values and as tables of text."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sampler_bench.peers import KNOWS
from sampler_bench.problems import make_problem
from sampler_bench.row import marks
from sampler_bench.rows import SearchRow
from sampler_bench.run import SearchBench
from scipy.stats import t

from mvit2_search.report.bench_tables import Row, Table

SEARCH_NOTES = (
    "Gap: what the evaluated settings lack of the true front's hypervolume, in %; mean over seeds and 95 % "
    "interval (Student's t). Settings that are evaluated again count as evaluations; duplicates are their share. "
    "Seconds are processor time of the sampler per evaluation, on one thread.",
    f"A sampler that ends in {KNOWS} knows the latency of its proposals: those that have been evaluated, are not "
    "faster than the reference, or are hopeless at their latency are drawn again at no charge. Hopeless: an "
    "evaluated one that is at least as fast is as accurate as mean + 2 standard deviations of the 15 evaluated "
    "ones nearest in latency. For one evaluation they are asked up to ten times, slow ones (gp, qlognehvi) twice; "
    "then the first hopeless one is evaluated, or random settings if all were evaluated or too slow.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Mean:
    """Of the seeds; without an interval of a single one."""

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


def standings(bench: SearchBench) -> list[Standing]:
    """One per problem and sampler, in the order in which they were asked for."""
    return [
        _standing([row for row in bench.rows if (row.problem, row.peer) == (problem, peer)])
        for problem in bench.problems
        for peer in bench.peers
    ]


def search_rows(bench: SearchBench) -> list[Row]:
    """One row per problem and sampler."""
    return [
        {
            "problem": one.problem,
            "reference_accuracy": make_problem(one.problem).reference[0],
            "reference_latency": make_problem(one.problem).reference[1],
            "sampler": one.peer,
            "by": one.by,
            "seeds": len(one.seeds),
            "first_seed": one.seeds[0],
            "evaluations": one.evaluations,
            **_gap_cells(one, bench.evaluations),
            "duplicates_pct": one.duplicates_pct,
            "sampler_s": one.sampler_s,
        }
        for one in standings(bench)
    ]


def search_tables(bench: SearchBench) -> dict[str, Table]:
    """By problem, one row per sampler."""
    found = standings(bench)
    return {
        problem: [
            {
                "sampler": one.peer,
                **{f"gap % at {mark}": str(one.gap_pct.get(mark, "")) for mark in marks(bench.evaluations)},
                "duplicates %": f"{one.duplicates_pct:.1f}",
                "s per trial": f"{one.sampler_s:.4f}",
                "seeds": str(len(one.seeds)),
                "evaluations": str(one.evaluations),
            }
            for one in found
            if one.problem == problem
        ]
        for problem in bench.problems
    }


def reference_sentence(problem: str) -> str:
    accuracy, latency = make_problem(problem).reference
    return f"Reference point: accuracy {accuracy:.4g}, latency {latency:.4g}."


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
