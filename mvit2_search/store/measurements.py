"""The kept measurements of one device against one reference; only this module reads and writes their files."""

import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from mvit2_search.errors import SpecError, StorageError
from mvit2_search.records import AboutNetwork, Kept, Measurement, Passport, Samples, time_fault
from mvit2_search.records.kept import KnownReference
from mvit2_search.system.files import write_atomically

_Parsed = TypeVar("_Parsed")
_NONE_OF_OURS = (
    *(ValueError, KeyError, TypeError, AttributeError, SpecError),
    *(OverflowError, RecursionError),  # a number of hundreds of digits, lists in lists
)


class Measurements:
    """What `folder`, `<results>/.latencies/<passport>-<reference>`, holds; one that does not exist holds nothing.

    Raises, whatever it reads:
        StorageError: a file cannot be read or is none of this program; the message says what to do.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._reference = folder / "reference.json"

    def path(self, sha256: str) -> Path:
        """Where the measurement of that artifact and all its samples are, or will be."""
        return self.folder / f"{sha256}.json"

    def get(self, sha256: str) -> Kept | None:
        """What is kept of that artifact."""
        return _read(self.path(sha256), Kept.from_json)

    def put(self, kept: Kept) -> None:
        """Keep it, instead of what was."""
        _write(self.path(kept.measurement.artifact_sha256), kept.to_json())

    def networks(self) -> list[tuple[AboutNetwork, Measurement]]:
        """The whole networks among all that is kept, by file name, as multiples of what the reference now takes.

        Left out are mixers alone and files of versions that did not say what they are of.
        """
        scale_ms, found = _read(self._reference, _scale_ms), []
        for path in sorted(self.folder.glob("[!.]*.json")):  # some systems put files of their own beside, `._*`
            kept = None if path == self._reference else _read(path, Kept.from_json)
            if kept is not None and isinstance(kept.about, AboutNetwork):
                one = kept.measurement
                found.append((kept.about, one if scale_ms is None else one.on_scale_of(scale_ms)))
        return found

    def reference(self) -> KnownReference | None:
        """What is known of the reference on the device."""
        return _read(self._reference, lambda row: KnownReference.from_json(row["known"]))

    def put_reference(self, known: KnownReference, passport: Passport, visits: list[Samples]) -> None:
        """Keep what its first visits told."""
        samples = [asdict(visit) for visit in visits]
        _write(self._reference, {"known": asdict(known), "passport": asdict(passport), "visits": samples})

    def correct_reference(self, known: KnownReference) -> None:
        """Keep what has been learned since; the first visits stay beside it."""
        row: dict[str, Any] = _read(self._reference, dict) or {}
        _write(self._reference, row | {"known": asdict(known)})


def _scale_ms(row: dict[str, Any]) -> float:
    """What the reference takes: studies keep scales of their own, and ratios alone compare."""
    if "known" not in row:  # as the first version wrote it
        return _plausible(float(row["reference_ms"]))
    return KnownReference.from_json(row["known"]).reference_ms


def _plausible(ms: float) -> float:
    if fault := time_fault(ms):
        raise ValueError(fault)
    return ms


def _read(path: Path, parse: Callable[[Any], _Parsed]) -> _Parsed | None:
    """What `parse` makes of the JSON in `path`; None where there is no such file."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, *_NONE_OF_OURS) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err


def _write(path: Path, data: Any) -> None:
    write_atomically(path, json.dumps(data, indent=1))
