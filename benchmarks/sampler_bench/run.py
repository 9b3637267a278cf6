"""All samplers on all problems. Rows go to a file that only grows, so a killed run continues where it was."""

import json
import multiprocessing
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO

from sampler_bench.peers import find_peer
from sampler_bench.problems import make_problem
from sampler_bench.search import Key, SearchRow, search_row

from mvit2_search.errors import BackendUnavailable, StorageError
from mvit2_search.measure.timer import Tell
from mvit2_search.store.folders import BENCH


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchBench:
    """The rows that were asked for, by seed, problem and peer."""

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
    """Compute the rows that `results` does not hold yet. Slow peers get fewer seeds and evaluations.

    Raises:
        SpecError: a problem or a peer is not known.
        BackendUnavailable: a worker died, or sources changed meanwhile.
        StorageError: `results` cannot be read or written.
    """
    path = rows_file(results)
    wanted = _wanted(problems, peers, seeds, evaluations)
    for problem in problems:
        make_problem(problem)
    known = read_rows(path)
    missing = [key for key in wanted if key not in known]
    tell(f"{len(wanted) - len(missing)} of {len(wanted)} rows are in {path}")
    with closing(_computed(missing, jobs)) as computed:
        append_rows(path, _told(computed, len(missing), tell))
    known = read_rows(path)
    if not known.keys() >= set(wanted):
        raise BackendUnavailable("the sources of the samplers changed during the run; start the command again")
    return SearchBench(
        problems=tuple(problems),
        peers=tuple(peers),
        evaluations=evaluations,
        rows=[known[key] for key in wanted],
    )


def rows_file(results: Path) -> Path:
    return results / BENCH / "search" / "rows.jsonl"


def read_rows(path: Path) -> dict[Key, SearchRow]:
    """All complete rows, none if there is no file. A line that was cut off is skipped.

    Raises:
        StorageError: the file cannot be read.
    """
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    except OSError as err:
        raise StorageError(f"{path}: cannot read: {err.strerror}") from err
    rows = [row for line in lines if (row := _parsed(line)) is not None]
    return {row.key: row for row in rows}


def append_rows(path: Path, rows: Iterable[SearchRow]) -> None:
    """Write each row as soon as it is there, on a line of its own even after one that was cut off.

    Raises:
        StorageError: the disk is full or the file cannot be written.
    """
    for row in rows:
        line = json.dumps(asdict(row), separators=(",", ":")).encode() + b"\n"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("ab+") as stream:
                stream.write(b"\n" + line if _is_cut_off(stream) else line)
        except OSError as err:
            raise StorageError(f"{path}: cannot write: {err.strerror}") from err


def _is_cut_off(stream: IO[bytes]) -> bool:
    """Whether the file's last line lacks its end."""
    if stream.tell() == 0:
        return False
    stream.seek(-1, 2)
    return stream.read(1) != b"\n"


def _parsed(line: str) -> SearchRow | None:
    try:
        return SearchRow.from_json(json.loads(line))
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _wanted(problems: Sequence[str], peers: Sequence[str], seeds: range, evaluations: int) -> list[Key]:
    """Seed after seed, so that a run that is stopped early has compared all samplers on all problems."""
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
    """Rows in the order in which they finish; closing it cancels what has not started."""
    if jobs == 1:
        yield from map(_row, keys)
        return
    pool = ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context("spawn"))
    try:
        for future in as_completed([pool.submit(_row, key) for key in keys]):
            yield future.result()
    except BrokenProcessPool as err:
        raise BackendUnavailable("a worker died; the same command continues from its rows") from err
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
