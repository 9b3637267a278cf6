"""The samplers that are compared, by name."""

import ast
import hashlib
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import optuna
from optuna.exceptions import ExperimentalWarning
from optuna.samplers import BaseSampler
from sampler_bench.known_latency import KnownLatency
from sampler_bench.problems import Problem

import mvit2_search
from mvit2_search.errors import SpecError
from mvit2_search.predict.guess import LatencyBounds, exactly
from mvit2_search.sampler.domain import Domain
from mvit2_search.sampler.front import FrontSampler

KNOWS = "+latency"  # ends the name of a peer that is told the latency

_PACKAGE = Path(mvit2_search.__file__).parent
_HERE = Path(__file__).parent
_OF_ALL = (_PACKAGE / "analysis" / "pareto.py", _HERE / "problems.py", _HERE / "search.py")
_OF_FRONT = tuple(sorted((_PACKAGE / "sampler").glob("*.py")))


@dataclass(frozen=True, kw_only=True, slots=True)
class Peer:
    """How to make a sampler for a problem and a seed.

    Attributes:
        package: its version decides what the sampler proposes.
        sources: files of this repository that decide it too.
        draws: proposals per evaluation if it is told the latency.
        most_seeds, most_evaluations: where a slow one stops; None is as far as the others.
    """

    make: Callable[[Problem, int], BaseSampler]
    package: str = "optuna"
    sources: tuple[Path, ...] = ()
    draws: int = 10
    most_seeds: int | None = None
    most_evaluations: int | None = None

    @property
    def version(self) -> str:
        """Rows of another version are not this peer's."""
        return f"{self.package} {metadata.version(self.package)} {_digest(self.sources)}"


@cache
def _digest(sources: tuple[Path, ...]) -> str:
    """Of the code as it was when this process first asked."""
    return hashlib.sha256("\n".join(map(_code, (*_OF_ALL, *sources))).encode()).hexdigest()[:7]


def _code(file: Path) -> str:
    """The file without comments and docstrings: other words make no other rows."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body[0] = ast.Pass()
    return ast.unparse(tree)


def _optuna(name: str, **options: Any) -> Callable[[Problem, int], BaseSampler]:
    def make(problem: Problem, seed: int) -> BaseSampler:
        with warnings.catch_warnings(action="ignore", category=ExperimentalWarning):
            sampler: BaseSampler = getattr(optuna.samplers, name)(seed=seed, **options)
        return sampler

    return make


def _qlognehvi(problem: Problem, seed: int) -> BaseSampler:
    with warnings.catch_warnings():  # BoTorch's own libraries use it while they are imported
        warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
        from sampler_bench.botorch import QLogNEHVISampler

    return QLogNEHVISampler(problem, seed=seed)


def _front(problem: Problem, seed: int) -> BaseSampler:
    def latency(many: Sequence[Mapping[str, Any]]) -> LatencyBounds:
        return exactly(np.array([problem.latency(dict(params)) for params in many]))

    domain = Domain(distributions=problem.distributions, latency=latency, limit_ms=problem.reference[1])
    return FrontSampler(domain, seed=seed)


_GP = Peer(make=_optuna("GPSampler", deterministic_objective=True), draws=2, most_seeds=10, most_evaluations=100)
_UNTOLD = {
    "random": Peer(make=_optuna("RandomSampler")),
    "nsga2": Peer(make=_optuna("NSGAIISampler")),
    "tpe": Peer(make=_optuna("TPESampler")),
    "tpe-multivariate": Peer(make=_optuna("TPESampler", multivariate=True)),
    "gp": _GP,
    "qlognehvi": replace(_GP, make=_qlognehvi, package="botorch", sources=(_HERE / "botorch.py",)),
}


def _told(peer: Peer) -> Peer:
    def make(problem: Problem, seed: int) -> BaseSampler:
        return KnownLatency(peer.make(problem, seed), problem, draws=peer.draws, seed=seed)

    return replace(peer, make=make, sources=(*peer.sources, _HERE / "known_latency.py"))


PEERS: dict[str, Peer] = {
    **_UNTOLD,
    "front": Peer(make=_front, package="mvit2-search", sources=_OF_FRONT),
    **{f"{name}{KNOWS}": _told(peer) for name, peer in _UNTOLD.items()},
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
