"""What a study was made with. None of it may change when the study goes on."""

import json
from importlib.metadata import version
from typing import Any

from mvit2_search.errors import StudyConflict
from mvit2_search.records import DataInputs, Inputs
from mvit2_search.records.codec import to_json
from mvit2_search.search.request import Request, budget_text, parse_budget
from mvit2_search.space import SearchSpace
from mvit2_search.store import StoredStudy
from mvit2_search.system.text import flat
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import Proxy

_PACKAGES = ("mvit2-search", "torch", "optuna", "onnxruntime", "coremltools", "numpy", "pillow")
_LABELS = ("space.name", "data.name")


def inputs_of(request: Request, space: SearchSpace, dataset: Dataset, proxy: Proxy) -> Inputs:
    """Everything that the study's numbers depend on."""
    data = DataInputs(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        classes=tuple(dataset.classes),
        train=len(dataset.train),
        selection=len(dataset.selection),
        confirmation=len(dataset.confirmation),
    )
    return Inputs(
        space={"name": space.name, **space.to_json()},
        data=data,
        latency_budget=budget_text(parse_budget(request.latency_budget)),
        max_params=request.max_params,
        formulation=request.formulation,
        seed=request.seed,
        sampler=request.sampler,
        stopping=request.stopping,
        training=proxy.settings(),
    )


def refuse_changes(study: StoredStudy, inputs: Inputs) -> None:
    """Raises StudyConflict, which names each difference, where the study was made with other inputs."""
    before, now = compared(study.inputs), compared(inputs)
    changed = [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]
    if changed:
        lines = "; ".join(f"{key}: was {before.get(key)}, now {now.get(key)}" for key in changed)
        raise StudyConflict(
            f"study {study.name!r} was made with other inputs: {lines}; use those, or another `study` name"
        )


def compared(inputs: Inputs) -> dict[str, Any]:
    """All inputs by dotted names, but for the names of files and folders: their contents count."""
    return {key: value for key, value in flat(json.loads(json.dumps(to_json(inputs)))) if key not in _LABELS}


def versions() -> dict[str, str]:
    """Of the packages that the numbers depend on."""
    return {package: version(package) for package in _PACKAGES}
