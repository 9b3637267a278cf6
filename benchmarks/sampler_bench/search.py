"""One search of one sampler on one problem, as a row."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import optuna
from sampler_bench.peers import find_peer
from sampler_bench.problems import Point, Problem

Key = tuple[str, str, int, int, str]

MARKS = (50, 100, 200)  # evaluations after which the gap is noted


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchRow:
    """What one sampler found on one problem with one seed.

    Attributes:
        by: package and version that made the proposals.
        gap_pct: the share of the true front's hypervolume that is missing, by evaluations.
        duplicates_pct: the share of evaluations of settings that had been evaluated before.
        sampler_s: processor time of the sampler per evaluation.
    """

    problem: str
    peer: str
    seed: int
    evaluations: int
    by: str
    gap_pct: dict[int, float]
    duplicates_pct: float
    sampler_s: float

    @property
    def key(self) -> Key:
        """Rows with equal keys are computed once."""
        return (self.problem, self.peer, self.seed, self.evaluations, self.by)

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        return cls(**row | {"gap_pct": {int(n): float(gap) for n, gap in row["gap_pct"].items()}})


def marks(evaluations: int) -> list[int]:
    """After how many of `evaluations` a row notes its gap: at `MARKS` and at the end."""
    return sorted({mark for mark in MARKS if mark < evaluations} | {evaluations})


def search_row(problem: Problem, peer: str, *, seed: int, evaluations: int) -> SearchRow:
    """Let a peer evaluate `evaluations` settings; repeated ones count.

    The same arguments give the same row except for the time.

    Raises:
        SpecError: there is no such peer.
    """
    found: list[Point] = []
    settings = set()
    spent_s = 0.0
    with _one_thread():
        sampler = find_peer(peer).make(problem, seed)
        study = optuna.create_study(directions=["maximize", "minimize"], sampler=sampler)
        for _ in range(evaluations):
            before_s = time.process_time()
            trial = study.ask(problem.distributions)
            spent_s += time.process_time() - before_s
            found.append(problem.evaluate(trial.params))
            settings.add(problem.key(trial.params))
            before_s = time.process_time()
            study.tell(trial, found[-1])
            spent_s += time.process_time() - before_s
    return SearchRow(
        problem=problem.name,
        peer=peer,
        seed=seed,
        evaluations=evaluations,
        by=find_peer(peer).version,
        gap_pct={mark: round(problem.gap_pct(found[:mark]), 3) for mark in marks(evaluations)},
        duplicates_pct=round(100 * (1 - len(settings) / evaluations), 2),
        sampler_s=float(f"{spent_s / evaluations:.3g}"),
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one thread, so that processor time is the sampler's own, and keep Optuna from logging every trial."""
    import torch
    from threadpoolctl import threadpool_limits

    threads = torch.get_num_threads()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(verbosity)
