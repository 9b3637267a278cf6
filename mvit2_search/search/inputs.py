"""What a study was made with, and what may not change when it goes on."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from mvit2_search.errors import StudyConflict
from mvit2_search.search.request import Request, budget_text, parse_budget
from mvit2_search.space import SearchSpace
from mvit2_search.store import StoredStudy
from mvit2_search.system.text import flat
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import Proxy

_PACKAGES = ("mvit2-search", "torch", "optuna", "onnxruntime", "coremltools", "numpy", "pillow")


def inputs_of(request: Request, space: SearchSpace, dataset: Dataset, proxy: Proxy) -> dict[str, Any]:
    """Everything that the study's numbers depend on, as JSON.

    How long to go on (`--trials`, `--max-hours`, `--confirm-seeds`, `--control`) is not among it: a study may be
    extended.
    """
    return {
        "space": {"name": space.name, **space.to_json()},
        "data": {
            "name": dataset.name,
            "fingerprint": dataset.fingerprint,
            "classes": list(dataset.classes),
            "train": len(dataset.train),
            "selection": len(dataset.selection),
            "confirmation": len(dataset.confirmation),
        },
        "latency_budget": budget_text(parse_budget(request.latency_budget)),
        "max_params": request.max_params,
        "formulation": request.formulation,
        "seed": request.seed,
        "sampler": request.sampler,
        "stopping": request.stopping,
        "training": proxy.settings(),
    }


def refuse_changes(study: StoredStudy, inputs: Mapping[str, Any]) -> None:
    """Raises StudyConflict, naming each difference, where the study was made with other inputs."""
    before, now = (_compared(one) for one in (study.fact("inputs"), inputs))
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed:
        lines = "; ".join(f"{key}: was {before.get(key)}, now {now.get(key)}" for key in changed)
        raise StudyConflict(
            f"study {study.name!r} was made with other inputs: {lines}; use those, or another --study name"
        )


def _compared(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a study is held to: names of files and folders are labels, their contents count."""
    labels = ("space.name", "data.name")
    return {key: value for key, value in flat(inputs) if key not in labels}


def versions() -> dict[str, str]:
    """The packages that numbers depend on."""
    return {package: version(package) for package in _PACKAGES}
