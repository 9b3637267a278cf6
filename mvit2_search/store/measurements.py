"""The kept measurements of one device against one reference; only this module reads and writes their files."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from mvit2_search.errors import StorageError
from mvit2_search.records import AboutNetwork, Kept, KeptReference, KnownReference, Measurement, Passport, Samples
from mvit2_search.records.codec import NO_RECORD, parse, to_json
from mvit2_search.system.files import write_atomically

T = TypeVar("T")


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
        return _read(self.path(sha256), Kept)

    def put(self, kept: Kept) -> None:
        """Keep it, instead of what was."""
        _write(self.path(kept.measurement.artifact_sha256), kept)

    def networks(self) -> list[tuple[AboutNetwork, Measurement]]:
        """The whole networks among all that is kept, by file name, on the reference's present scale."""
        known, found = self.reference(), []
        for path in sorted(self.folder.glob("[!.]*.json")):  # some systems put files of their own beside, `._*`
            kept = None if path == self._reference else _read(path, Kept)
            if kept is not None and isinstance(kept.about, AboutNetwork):
                one = kept.measurement
                found.append((kept.about, one if known is None else one.on_scale_of(known.reference_ms)))
        return found

    def reference(self) -> KnownReference | None:
        """What is known of the reference on the device."""
        kept = _read(self._reference, KeptReference)
        return None if kept is None else kept.known

    def put_reference(self, known: KnownReference, passport: Passport, visits: list[Samples]) -> None:
        """Keep what its first visits told."""
        _write(self._reference, KeptReference(known=known, passport=passport, visits=tuple(visits)))

    def correct_reference(self, known: KnownReference) -> None:
        """Keep what has been learned since; the first visits stay beside it."""
        if (kept := _read(self._reference, KeptReference)) is not None:
            _write(self._reference, replace(kept, known=known))


def _read(path: Path, kind: type[T]) -> T | None:
    """The record in `path`; None where there is no such file."""
    try:
        return parse(path.read_text(encoding="utf-8"), kind)
    except FileNotFoundError:
        return None
    except (OSError, *NO_RECORD) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err


def _write(path: Path, record: Any) -> None:
    write_atomically(path, json.dumps(to_json(record), indent=1))
