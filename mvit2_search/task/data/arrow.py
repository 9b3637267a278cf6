"""A data set that Hugging Face's `datasets` saved: `save_to_disk`, in one part or several."""

import errno
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.errors import BackendUnavailable, DataError, first_line
from mvit2_search.system.text import counted
from mvit2_search.task.data.folder import Folder
from mvit2_search.task.data.numbered import Numbered, by_part, numbered_folder

_PARTS, _STATE, _INFO = "dataset_dict.json", "state.json", "dataset_info.json"
_LABELS = ("label", "labels", "class", "target")  # what the column of the classes is called
_LABEL_KINDS = ("int", "uint", "string", "large_string")  # how the names of its types begin


class Rows:
    """Tables of one column of images. The path of an image is that of its table, and the number of its row.

    Tables are mapped into memory, and passed to other processes by the names of their files.
    """

    def __init__(self, root: Path, tables: Mapping[str, Any]) -> None:
        self._tables = tables  # by the path below the folder
        self._start = len(str(root / "x")) - 1  # where the path below the folder begins
        self._sizes = {name: _sizes(table) for name, table in tables.items()}
        self._changed = {name: _last_change(table) for name, table in tables.items()}

    def read(self, path: str) -> bytes:
        image = self._image(path)
        return image["bytes"] if image["bytes"] is not None else Path(image["path"]).read_bytes()

    def stamps(self, paths: Iterable[str]) -> Iterator[tuple[int, int]]:
        for path in paths:
            name, row = self._find(path)
            size, changed = int(self._sizes[name][row]), self._changed[name]
            if size < 0:  # the image is a file of its own
                status = os.stat(self._image(path)["path"])
                size, changed = status.st_size, status.st_ctime_ns
            yield size, changed

    def _find(self, path: str) -> tuple[str, int]:
        name, _, row = path[self._start :].rpartition("/")
        return name, int(row)

    def _image(self, path: str) -> dict[str, Any]:
        """Its bytes or its path; raises OSError if the row has neither."""
        name, row = self._find(path)
        (image,) = self._tables[name][row].values()
        if not image or image["bytes"] is image["path"] is None:
            raise OSError(errno.ENOENT, "no image in this row", path)
        found: dict[str, Any] = image
        return found


def find_saved(root: Path) -> Folder | None:
    """The images in a data set saved at `root`; None if there is none.

    Raises DataError if it cannot be used; BackendUnavailable without the library.
    """
    if not (root / _PARTS).is_file() and not ((root / _STATE).is_file() and (root / _INFO).is_file()):
        return None
    try:
        library = import_module("datasets")
    except ImportError as err:
        raise BackendUnavailable(
            f"{root}: saved by Hugging Face's datasets, which is missing: pip install 'mvit2-search[datasets]'"
        ) from err
    tables = _loaded(root, library)
    parts = by_part(root, tables)
    images = {name: _images(root, table, library) for name, table in parts.values()}
    labels = _Labels(root, [table for _, table in parts.values()], library)
    used = {name for name, _ in parts.values()}
    return numbered_folder(
        root,
        Rows(root, images),
        {
            part: Numbered(
                name=name,
                paths=_paths(root / name, len(table)),
                numbers=labels.numbers(table),
            )
            for part, (name, table) in parts.items()
        },
        labels.name,
        unused=[f"{name} ({counted(len(one), 'row')})" for name, one in tables.items() if name not in used],
    )


def _paths(table: Path, count: int) -> list[str]:
    start = str(table / "x")[:-1]
    return [f"{start}{row:08}" for row in range(count)]


def _loaded(root: Path, library: Any) -> dict[str, Any]:
    """The tables by their names; one alone has none."""
    try:
        with _without_progress(library):
            loaded = library.load_from_disk(str(root), keep_in_memory=False)
    except Exception as err:  # it raises those of Arrow, of JSON and of files
        raise DataError(f"{root}: a damaged data set: {first_line(err)}; save it again with save_to_disk") from err
    tables = loaded if isinstance(loaded, dict) else {"": loaded}
    return {name: table.with_format(None) for name, table in tables.items()}


@contextmanager
def _without_progress(library: Any) -> Iterator[None]:
    if library.are_progress_bars_disabled():
        yield
        return
    library.disable_progress_bars()
    try:
        yield
    finally:
        library.enable_progress_bars()


def _images(root: Path, table: Any, library: Any) -> Any:
    """Its column of images, as they were saved."""
    columns = [name for name, kind in table.features.items() if isinstance(kind, library.Image)]
    if len(columns) != 1:
        raise _other_columns(root, table, "one column of images")
    return table.select_columns(columns).cast_column(columns[0], library.Image(decode=False))


def _other_columns(root: Path, table: Any, expected: str) -> DataError:
    return DataError(
        f"{root}: has the columns {', '.join(table.features)}, and {expected} is expected; change them by "
        "cast_column, rename_column or remove_columns and save it again"
    )


class _Labels:
    """The classes of the images. Those that are texts are numbered in their order."""

    def __init__(self, root: Path, tables: Sequence[Any], library: Any) -> None:
        first = tables[0]
        self._column, kind = _label_column(root, first, library)
        for table in tables:
            if table.features.get(self._column) != kind:
                raise _other_columns(root, table, f"{self._column!r} with the same classes in all parts")
        self._names: list[str] | None = None
        self._numbers: dict[str, int] | None = None
        if isinstance(kind, library.ClassLabel):
            self._names = kind.names
        elif "string" in kind.dtype:
            found = {label for table in tables for label in self._values(table) if label is not None}
            self._names = sorted(found)
            self._numbers = {name: number for number, name in enumerate(self._names)}

    def _values(self, table: Any) -> list[Any]:
        found: list[Any] = table.select_columns([self._column]).with_format("arrow")[:][self._column].to_pylist()
        return found

    def numbers(self, table: Any) -> list[int]:
        """-1 where a row has no class."""
        values = self._values(table)
        if self._numbers is not None:
            return [self._numbers.get(value, -1) for value in values]
        return [-1 if value is None else value for value in values]

    def name(self, number: int) -> str:
        return str(number) if self._names is None else self._names[number]


def _label_column(root: Path, table: Any, library: Any) -> tuple[str, Any]:
    """Its name and what it holds: that of classes, or else one of numbers or texts with a usual name."""
    kinds = table.features
    columns = [name for name, kind in kinds.items() if isinstance(kind, library.ClassLabel)]
    if len(columns) != 1:
        usual = [name for name in _LABELS if name in (columns or kinds)]
        columns = [name for name in usual if str(getattr(kinds[name], "dtype", "")).startswith(_LABEL_KINDS)]
    if len(columns) != 1:
        raise _other_columns(root, table, "one column of classes, 'label',")
    return columns[0], kinds[columns[0]]


def _sizes(table: Any) -> np.ndarray:
    """Of the images in bytes; -1 where it holds the path of a file."""
    compute = import_module("pyarrow.compute")
    (column,) = table.with_format("arrow")[:].columns
    lengths = compute.binary_length(compute.struct_field(column, "bytes"))
    sizes: np.ndarray = compute.fill_null(lengths, -1).to_numpy()
    return sizes


def _last_change(table: Any) -> int:
    """Of its files, in nanoseconds."""
    return max((os.stat(file["filename"]).st_ctime_ns for file in table.cache_files), default=0)
