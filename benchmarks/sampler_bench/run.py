"""All samplers on all problems, row by row."""

import multiprocessing
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from sampler_bench.peers import find_peer
from sampler_bench.problems import make_problem
from sampler_bench.row import search_row
from sampler_bench.rows import Key, SearchRow, append_rows, read_rows

from mvit2_search.errors import BackendUnavailable
from mvit2_search.measure.timer import Tell
from mvit2_search.store.folders import BENCH


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchBench:
    """The rows that were asked for, by problem, peer and seed."""

    problems: tuple[str, ...]
    peers: tuple[str, ...]
    evaluations: int
    rows: list[SearchRow]


def bench_search(
    *,
    results: Path,
    problems: Sequence[str],
    peers: Sequence[str],
    seeds: range,
    evaluations: int,
    jobs: int,
    tell: Tell,
) -> SearchBench:
    """Compute the rows that `results` does not hold yet. Slow peers stop at fewer seeds and evaluations.

    Raises:
        SpecError: a problem or a peer is not known.
        BackendUnavailable: a package is not installed, a worker died, or sources changed meanwhile.
        StorageError: `results` cannot be read or written.
    """
    path = rows_file(results)
    wanted = _wanted(problems, peers, seeds, evaluations)
    for problem in problems:
        make_problem(problem)
    known = read_rows(path)
    left = [key for key in wanted if key not in known]
    tell(f"{len(wanted) - len(left)} of {len(wanted)} rows are in {path}")
    with closing(_computed(left, jobs)) as computed:
        append_rows(path, _told(computed, len(left), tell))
    known = read_rows(path)
    if not known.keys() >= set(wanted):
        raise BackendUnavailable("bench search: its sources changed while it ran; the same command goes on")
    return SearchBench(
        problems=tuple(problems),
        peers=tuple(peers),
        evaluations=evaluations,
        rows=[known[key] for key in wanted],
    )


def rows_file(results: Path) -> Path:
    return results / BENCH / "search" / "rows.jsonl"


def _wanted(problems: Sequence[str], peers: Sequence[str], seeds: range, evaluations: int) -> list[Key]:
    """One seed after the other, so that a run that is stopped early has compared everything."""
    found = {name: find_peer(name) for name in peers}
    versions = {name: peer.version for name, peer in found.items()}
    return [
        (problem, name, seed, min(evaluations, peer.most_evaluations or evaluations), versions[name])
        for seed in seeds
        for problem in problems
        for name, peer in found.items()
        if seed in seeds[: peer.most_seeds]
    ]


def _computed(keys: list[Key], jobs: int) -> Generator[SearchRow]:
    """In the order in which they are done. Given up, it lets go of what has not begun."""
    if jobs == 1:
        yield from map(_row, keys)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_row, key) for key in keys]):
            yield future.result()
    except BrokenProcessPool as err:
        raise BackendUnavailable("bench search: a worker died; the same command goes on from its rows") from err
    finally:
        pool.shutdown(cancel_futures=True)


def _row(key: Key) -> SearchRow:
    problem, peer, seed, evaluations, _ = key
    return search_row(make_problem(problem), peer, seed=seed, evaluations=evaluations)


def _told(rows: Iterator[SearchRow], number: int, tell: Tell) -> Iterator[SearchRow]:
    for i, row in enumerate(rows, start=1):
        gap = row.gap_pct[row.evaluations]
        tell(f"{i}/{number} {row.problem} {row.peer} seed {row.seed}: gap {gap:.2f} % at {row.evaluations}")
        yield row
