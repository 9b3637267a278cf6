"""The samplers that are compared, by name."""

import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from sampler_bench.extra import version_of
from sampler_bench.known_latency import KnownLatency
from sampler_bench.problems import Problem

from mvit2_search.errors import SpecError
from mvit2_search.predict.guess import LatencyBounds, exactly
from mvit2_search.sampler.domain import Domain
from mvit2_search.sampler.front import FrontSampler

_PACKAGE = Path(__file__).parents[2]
_SOURCES = ("pareto.py", "bench/search/problems.py", "bench/search/row.py")  # of every row
KNOWS = "+latency"  # ends the name of a peer that is told the latency


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """How to make a sampler for a problem and a seed.

    Attributes:
        package: whose version decides what it proposes.
        sources: files of our own that do, too.
        draws: proposals per evaluation where it is told the latency.
        most_seeds, most_evaluations: how far it is followed; None is as far as the others.
    """

    make: Callable[[Problem, int], BaseSampler]
    package: str = "optuna"
    sources: tuple[str, ...] = ()
    draws: int = 10
    most_seeds: int | None = None
    most_evaluations: int | None = None

    @property
    def version(self) -> str:
        """What rows are made with; rows of another version are no rows of this peer."""
        return f"{version_of(self.package)} {_digest(self.sources)}"


@cache
def _digest(sources: tuple[str, ...]) -> str:
    """Of the sources as they were when this process first asked."""
    files = sorted(file for pattern in (*_SOURCES, *sources) for file in _PACKAGE.glob(pattern))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:7]


def _optuna(name: str, **options: Any) -> Callable[[Problem, int], BaseSampler]:
    def make(problem: Problem, seed: int) -> BaseSampler:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            sampler: BaseSampler = getattr(optuna.samplers, name)(seed=seed, **options)
        return sampler

    return make


def _qlognehvi(problem: Problem, seed: int) -> BaseSampler:
    from sampler_bench.botorch import QLogNEHVISampler

    return QLogNEHVISampler(problem, seed=seed)


def _front(problem: Problem, seed: int) -> BaseSampler:
    def latency(many: Sequence[Mapping[str, Any]]) -> LatencyBounds:
        return exactly(np.array([problem.latency(dict(params)) for params in many]))

    domain = Domain(distributions=problem.distributions, latency=latency, limit_ms=problem.reference[1])
    return FrontSampler(domain, seed=seed)


_ALONE = {
    "random": Peer(make=_optuna("RandomSampler")),
    "nsga2": Peer(make=_optuna("NSGAIISampler")),
    "tpe": Peer(make=_optuna("TPESampler")),
    "tpe-multivariate": Peer(make=_optuna("TPESampler", multivariate=True)),
    "gp": Peer(
        make=_optuna("GPSampler", deterministic_objective=True), draws=2, most_seeds=10, most_evaluations=100
    ),
    "qlognehvi": Peer(
        make=_qlognehvi,
        package="botorch",
        sources=("bench/search/botorch.py",),
        draws=2,
        most_seeds=10,
        most_evaluations=100,
    ),
}


def _told(peer: Peer) -> Peer:
    def make(problem: Problem, seed: int) -> BaseSampler:
        return KnownLatency(peer.make(problem, seed), problem, draws=peer.draws, seed=seed)

    return replace(peer, make=make, sources=(*peer.sources, "bench/search/known_latency.py"))


PEERS: dict[str, Peer] = {
    **_ALONE,
    "front": Peer(make=_front, package="mvit2-search", sources=("sampler/*.py",)),
    **{f"{name}{KNOWS}": _told(peer) for name, peer in _ALONE.items()},
}


for _peer in PEERS.values():  # before a source can change under a process that runs it
    _digest(_peer.sources)


def find_peer(name: str) -> Peer:
    """The peer of that name.

    Raises:
        SpecError: there is none.
    """
    if name not in PEERS:
        raise SpecError(f"peer {name!r}: expected one of {', '.join(PEERS)}")
    return PEERS[name]
