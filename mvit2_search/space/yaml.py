"""Search spaces as YAML files: found by name or path, and read strictly."""

import math
from pathlib import Path
from typing import Any

from mvit2_search.errors import SpecError
from mvit2_search.space.space import SETTINGS, Axis, Choices, Range, SearchSpace, Setting
from mvit2_search.system.yaml import Document, Keys, load, nearest

_PACKAGE = Path(__file__).parent.parent
_MAX_STEPS = 10_000  # of one range; finer steps give no other networks
_MAX_CHOICES = 1_000  # of one setting; every trial stores the list


def shipped_spaces() -> dict[str, Path]:
    """The spaces that come with the package: name to file."""
    folders = (_PACKAGE / "search_spaces", _PACKAGE.parent / "search_spaces")  # in a wheel; in a checkout
    folder = next((f for f in folders if f.is_dir()), folders[0])
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def find_space(name_or_path: str) -> Path:
    """The file of a shipped space (`width`), or a path; raises SpecError if there is neither."""
    shipped = shipped_spaces()
    if name_or_path in shipped:
        return shipped[name_or_path]
    path = Path(name_or_path)
    if path.is_file():
        return path
    if path.suffix or len(path.parts) > 1:
        raise SpecError(f"{path}: no such file")
    raise SpecError(f"space {name_or_path!r}: no such shipped space{nearest(name_or_path, shipped)}")


def load_space(name_or_path: str) -> SearchSpace:
    """Read a search space; raises SpecError, `file:line:column: key: what is wrong`."""
    document = load(find_space(name_or_path))
    top = document.data
    document.check_keys((), top, known=("name", "purpose", "settings"), needed=("name", "settings"))
    for key in ("name", "purpose"):
        if not isinstance(top.get(key, ""), str):
            raise document.error((key,), f"expected text, found {top[key]!r}")
    document.check_keys(("settings",), top["settings"], known=SETTINGS)
    axes: list[Axis] = []
    fixed: dict[str, Any] = {}
    for name, value in top["settings"].items():
        if isinstance(value, dict):
            axes += _axes(document, name, value)
        else:
            fixed[name] = _fixed(document, name, value)
    if not axes:
        raise document.error(("settings",), "nothing varies: give at least one setting a range or choices")
    space = SearchSpace(name=top["name"], purpose=top.get("purpose", ""), axes=tuple(axes), fixed=fixed)
    try:
        space.decode(space.lowest)
    except SpecError as err:
        raise document.error(("settings",), f"the lowest values make no network: {err}") from err
    return space


def _axes(document: Document, name: str, value: dict[str, Any]) -> list[Axis]:
    keys, setting = ("settings", name), SETTINGS[name]
    document.check_keys(keys, value, known=("range", "step", "choices", "per_stage"))
    if ("range" in value) == ("choices" in value):
        raise document.error(keys, "give either range or choices")
    if "step" in value and "choices" in value:
        raise document.error((*keys, "step"), "goes with range only")
    parse = _range if "range" in value else _choices
    domain = parse(document, keys, setting, value)
    per_stage = value.get("per_stage", False)
    if type(per_stage) is not bool:
        raise document.error((*keys, "per_stage"), f"expected true or false, found {per_stage!r}")
    if per_stage and not setting.stages:
        raise document.error((*keys, "per_stage"), f"{name} is one value for the whole network")
    stages = setting.stages if per_stage else (None,)
    return [Axis(setting=name, stage=stage, domain=domain) for stage in stages]


def _range(document: Document, keys: Keys, setting: Setting, value: dict[str, Any]) -> Range:
    at, bounds = (*keys, "range"), value["range"]
    if setting.options:
        raise document.error(at, f"takes choices only: [{', '.join(map(str, setting.options))}]")
    if not isinstance(bounds, list) or len(bounds) != 2:
        raise document.error(at, f"expected [lowest, highest], found {bounds!r}")
    _check(document, at, setting, *bounds)
    low, high = bounds
    if low >= high:
        raise document.error(at, f"lowest {low} is not below highest {high}")
    return Range(low=low, high=high, step=_step(document, keys, setting, value, high - low))


def _step(document: Document, keys: Keys, setting: Setting, value: dict[str, Any], span: float) -> float | None:
    if "step" not in value:
        return 1 if setting.kind is int else None
    at, step = (*keys, "step"), value["step"]
    allowed = (int,) if setting.kind is int else (int, float)
    if type(step) not in allowed or not 0 < step <= span:
        kind = "whole number" if setting.kind is int else "number"
        raise document.error(at, f"expected a {kind} above 0 and at most {span:g}, found {step!r}")
    if span / step > _MAX_STEPS:
        found = f"{step} gives {span / step:.3g} steps, at most {_MAX_STEPS:,}"
        raise document.error(at, f"{found}; without a step the range is continuous")
    if not math.isclose(span / step, round(span / step), abs_tol=1e-9):
        raise document.error(at, f"{step} does not divide the range of {span:g}")
    return float(step) if setting.kind is float else step


def _choices(document: Document, keys: Keys, setting: Setting, value: dict[str, Any]) -> Choices:
    at, values = (*keys, "choices"), value["choices"]
    if not isinstance(values, list) or not values:
        raise document.error(at, f"expected a list of values, found {values!r}")
    if len(values) > _MAX_CHOICES:
        raise document.error(at, f"{len(values):,} values, at most {_MAX_CHOICES:,}; a range holds more")
    _check(document, at, setting, *values)
    for i, one in enumerate(values):
        if one in values[:i]:
            raise document.error((*at, i), f"{one!r} is given twice, which would skew sampling")
    return Choices(values=tuple(float(v) if setting.kind is float else v for v in values))


def _fixed(document: Document, name: str, value: Any) -> Any:
    """One value, or one per stage, as in the file."""
    keys, setting = ("settings", name), SETTINGS[name]
    if not isinstance(value, list):
        if problem := setting.problem(value):
            raise document.error(keys, problem)
        return value
    if len(value) != len(setting.stages):
        lists = f" or a list of {len(setting.stages)}, one per stage" if setting.stages else ""
        raise document.error(keys, f"expected one value{lists}, found {len(value):,} values")
    _check(document, keys, setting, *value)
    return value


def _check(document: Document, keys: Keys, setting: Setting, *values: Any) -> None:
    """Raises SpecError for the first of the values of a list that the setting does not allow."""
    for i, value in enumerate(values):
        if problem := setting.problem(value):
            raise document.error((*keys, i), problem)
