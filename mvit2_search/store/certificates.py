"""Checks of proxies on disk: `certificate.json` in a study's folder, with a digest of its contents."""

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from mvit2_search.errors import StorageError
from mvit2_search.records.certificate import Check
from mvit2_search.records.codec import NO_RECORD, from_json, to_json
from mvit2_search.system.files import write_atomically

_FILE = "certificate.json"


def certificate_path(folder: Path) -> Path:
    return folder / _FILE


def write_check(folder: Path, check: Check) -> None:
    """Replace what is kept; raises StorageError."""
    row = to_json(check)
    write_atomically(certificate_path(folder), json.dumps({"check": row, "sha256": _digest(row)}, indent=1) + "\n")


def read_check(folder: Path) -> Check | None:
    """The check in a study's folder; None where there is none. Raises StorageError where it is damaged."""
    path = certificate_path(folder)
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as err:
        raise StorageError(f"{path}: cannot be read: {err}") from err
    try:
        kept = json.loads(text)
        if kept["sha256"] != _digest(kept["check"]):
            raise ValueError("the digest is another one")
        return from_json(kept["check"], Check)
    except NO_RECORD as err:
        raise StorageError(f"{path}: damaged, or from another version; move it away to check anew") from err


def all_checks(results: Path, tell: Callable[[str], None]) -> Iterator[tuple[Path, Check]]:
    """Those in the folders of `results`, by name. Damaged ones are told of and passed over."""
    for path in sorted(results.glob(f"*/{_FILE}")):
        try:
            check = read_check(path.parent)
        except StorageError as err:
            tell(str(err))
            continue
        if check is not None:
            yield path.parent, check


def _digest(row: object) -> str:
    return hashlib.sha256(json.dumps(row, sort_keys=True).encode()).hexdigest()
