"""One sampler on one problem with one seed."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

import optuna
from sampler_bench.extra import bench_module
from sampler_bench.peers import find_peer
from sampler_bench.problems import Point, Problem
from sampler_bench.rows import SearchRow

MARKS = (50, 100, 200)  # evaluations after which the gap is noted


def marks(evaluations: int) -> list[int]:
    """Where a row of so many evaluations notes its gap: also at its end."""
    return sorted({mark for mark in MARKS if mark < evaluations} | {evaluations})


def search_row(problem: Problem, peer: str, *, seed: int, evaluations: int) -> SearchRow:
    """Let a peer evaluate so often; what it evaluates again is charged again.

    The same arguments give the same row but for the time.

    Raises:
        SpecError: there is no such peer.
        BackendUnavailable: its package is not installed.
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
            settings.add(tuple(trial.params[axis] for axis in problem.distributions))
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
    """Rows run beside each other, and processor time is to be the sampler's own."""
    import torch

    threads = torch.get_num_threads()
    verbosity = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    torch.set_num_threads(1)
    try:
        with bench_module("threadpoolctl").threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(verbosity)
