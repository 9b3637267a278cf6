"""Measurements of one device, as kept by `latency.Meter`, with the networks they belong to."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError, StorageError
from mvit2_search.records import Measurement

_REFERENCE = "reference.json"


@dataclass(frozen=True, kw_only=True, slots=True)
class About:
    """The network that was exported: `formulation` may be one of a later version."""

    arch: ArchConfig
    num_classes: int
    formulation: str


def read_labels(folder: Path) -> list[tuple[About, Measurement]]:
    """What the cache of one passport holds, by file name.

    Args:
        folder: `<results>/.latencies/<passport digest>-<reference>`. One that does not exist holds nothing.
            Files without a network (written by earlier versions, or of a mixer alone) are left out.

    Raises:
        StorageError: a file cannot be read.
    """
    scale_ms, labels = _scale_ms(folder / _REFERENCE), []
    for path in sorted(folder.glob("*.json")):
        if path.name != _REFERENCE and (label := _label(path)) is not None:
            about, measurement = label
            labels.append((about, measurement if scale_ms is None else measurement.on_scale_of(scale_ms)))
    return labels


def _scale_ms(path: Path) -> float | None:
    """What the reference is known to take: studies keep scales of their own, and ratios alone compare."""
    try:
        return float(json.loads(path.read_text(encoding="utf-8"))["known"]["reference_ms"])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err


def _label(path: Path) -> tuple[About, Measurement] | None:
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        about = row.get("about")
        if about is None:
            return None
        arch = ArchConfig.from_json(about["arch"])
        named = About(arch=arch, num_classes=about["num_classes"], formulation=about["formulation"])
        return named, Measurement.from_json(row["measurement"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SpecError) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err
