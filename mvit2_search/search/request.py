"""What a user asks of a search, and what a study was made with, which may not change when it goes on."""

import json
import re
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mvit2_search.arch import published
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.records import DEFAULT_FORMULATION, FORMULATION_NAMES, FormulationName, Goals, Inputs, Recipe
from mvit2_search.records.codec import to_json
from mvit2_search.stopping import DEFAULT_STOPPING, STOPPING_RULES
from mvit2_search.store import StoredStudy
from mvit2_search.store.folders import check_study_name
from mvit2_search.system.text import flat

PROXIES = ("short", "inherited")
SAMPLERS = ("front", "tpe", "nsga2", "gp", "random")
_MILLISECONDS = re.compile(r"(\d+(?:\.\d+)?)\s*ms")


@dataclass(frozen=True, kw_only=True, slots=True)
class Request:
    """One call of `mvit2-search run`; its help says what each setting means.

    Raises:
        SpecError: a setting is out of range.
    """

    space: str
    data: str
    latency_budget: str
    study: str
    device: str = "auto"
    allow_device_change: bool = False
    formulation: FormulationName = DEFAULT_FORMULATION
    sampler: str = "front"
    stopping: str = DEFAULT_STOPPING
    trials: int = 20
    seed: int = 0
    confirm_seeds: int = 3
    control: int = 0
    max_hours: float | None = None
    max_params: int | None = None
    train_on: str = "auto"
    recipe: Recipe = field(default_factory=Recipe)
    proxy: str = "short"
    init: Path | None = None
    shared_epochs: int = 20
    teacher: str | None = None
    teacher_temperature: float = 1.0
    teacher_weight: float = 1.0
    cache_gb: float = 10.0
    results: Path = Path("results")

    def __post_init__(self) -> None:
        check_study_name(self.study)
        parse_budget(self.latency_budget)
        STOPPING_RULES.entry(self.stopping)
        least_of = {"trials": 1, "confirm_seeds": 1, "max_params": 1, "control": 0, "shared_epochs": 1}
        for name, least in least_of.items():
            value = getattr(self, name)
            if value is not None and value < least:
                raise SpecError(f"`{name}` {value}: expected at least {least}")
        for name, known in (("formulation", FORMULATION_NAMES), ("sampler", SAMPLERS), ("proxy", PROXIES)):
            if getattr(self, name) not in known:
                raise SpecError(f"`{name}` {getattr(self, name)!r}: expected one of {', '.join(known)}")
        if self.init is not None and self.proxy != "inherited":
            raise SpecError("`init` goes with `proxy` inherited: short trainings begin with random weights")
        if self.max_hours is not None and not self.max_hours > 0:
            raise SpecError(f"`max_hours` {self.max_hours}: expected more than 0")
        if not 0 <= self.cache_gb <= 1e6:
            raise SpecError(f"`cache_gb` {self.cache_gb}: expected from 0 to 1,000,000")
        if not 0 <= self.seed < 2**32:
            raise SpecError(f"`seed` {self.seed}: expected from 0 to {2**32 - 1}")

    @property
    def goals(self) -> Goals:
        """How far the study is to go."""
        return Goals(
            trials=self.trials, confirm_seeds=self.confirm_seeds, control=self.control, max_hours=self.max_hours
        )

    @property
    def shared_recipe(self) -> Recipe:
        """By which the weights are trained that networks inherit."""
        return replace(self.recipe, epochs=self.shared_epochs)

    @property
    def longest_recipe(self) -> Recipe:
        """The one that draws the most images."""
        inherits = self.proxy == "inherited" and self.shared_epochs > self.recipe.epochs
        return self.shared_recipe if inherits else self.recipe

    @property
    def folder(self) -> Path:
        return self.results / self.study


def parse_budget(text: str) -> float | str:
    """Milliseconds, or the name of the published network whose latency is the budget; SpecError for neither."""
    if match := _MILLISECONDS.fullmatch(text.strip()):
        if (milliseconds := float(match[1])) > 0:
            return milliseconds
        raise SpecError(f"`latency_budget` {text!r}: expected more than 0 ms")
    try:
        published(text.strip())
    except SpecError as err:
        raise SpecError(f"`latency_budget`: expected a time such as 12ms, or a published network: {err}") from err
    return text.strip()


_PACKAGES = ("mvit2-search", "torch", "optuna", "onnxruntime", "coremltools", "numpy", "pillow")
_LABELS = ("space.name", "data.name")


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
