"""The images below a folder: links are followed, what tools keep there is not looked at."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mvit2_search.store.folders import EXPORTS, LATENCIES, USED, is_study
from mvit2_search.task.data.decode import image_endings, is_image, needs_plugin

_TOOLS = {
    *("__macosx", "appledouble", "network trash folder", "temporary items", "__pycache__"),
    *("@eadir", "@tmp", "@sharebin", "@recycle", "#recycle", "#snapshot", "~snapshot", "@recently-snapshot"),
    *("$recycle.bin", "recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
    *("@__thumb", "__thumbs__", "_thumb", "_thumbs", "thumbnails", "_thumbnails"),
    "[originals]",
}
THUMBNAILS = {"thumb", "thumbs", "thumbnail", "_thumbnail"}  # below a class; a class may be called so


@dataclass(kw_only=True)
class Found:
    """What lies below a folder.

    Attributes:
        others: files that are no images.
        dangling: links that lead nowhere.
        again: links to folders that are read already, or that lie above.
        tools: folders that tools keep.
        studies: folders that the program itself writes.
    """

    images: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)
    dangling: list[Path] = field(default_factory=list)
    again: list[Path] = field(default_factory=list)
    tools: list[Path] = field(default_factory=list)
    studies: list[Path] = field(default_factory=list)


class Walker:
    """Looks into the folders of one data set.

    Args:
        root: the data set; no link leads into it or to what lies above it.
        results: folders that hold no images to use, whatever lies in them.
    """

    def __init__(self, root: Path, results: Iterable[Path] = ()) -> None:
        self._endings = image_endings()
        self._above = frozenset(_identity(path) for path in (root.resolve(), *root.resolve().parents))
        self._results = frozenset(_identity(path) for path in results if path.exists())

    def folders(self, folder: Path) -> list[Path]:
        """The sub-folders that may hold images, in order of their names."""
        with os.scandir(folder) as entries:
            found = [Path(entry) for entry in entries if _is_folder(entry) and not _is_of_tools(entry)]
        return sorted(path for path in found if not self._is_written_here(path))

    def files_in(self, folder: Path) -> Found:
        """What lies in a folder itself; of hidden folders everybody knows that nothing is used."""
        found = Found()
        for entry in _sorted_entries(folder):
            if not _is_folder(entry):
                self._take(entry, found)
            elif entry.name.startswith("."):
                continue
            elif _is_of_tools(entry):
                found.tools.append(Path(entry))
            elif self._is_written_here(Path(entry)):
                found.studies.append(Path(entry))
        return found

    def below(self, top: Path) -> Found:
        """What lies in a folder and its sub-folders, each of which is looked at once, real ones before links."""
        found = Found()
        seen = {*self._above, _identity(top.parent)}
        real, linked = [top], list[Path]()
        while real or linked:
            folder = real.pop() if real else linked.pop(0)
            if _identity(folder) in seen:
                found.again.append(folder)
                continue
            seen.add(_identity(folder))
            if self._is_written_here(folder):
                found.studies.append(folder)
                continue
            for entry in _sorted_entries(folder):
                if not _is_folder(entry):
                    self._take(entry, found)
                elif _is_of_tools(entry) or entry.name.lower() in THUMBNAILS:
                    found.tools.append(Path(entry))
                else:
                    (linked if entry.is_symlink() else real).append(Path(entry))
        return found

    def _take(self, entry: os.DirEntry[str], found: Found) -> None:
        """A file, by what it is; hidden ones are nobody's images."""
        if entry.name.startswith("."):
            return
        path = Path(entry)
        if _leads_nowhere(entry):
            found.dangling.append(path)
        elif entry.is_file() and is_image(path, self._endings):
            found.images.append(path)
        else:
            found.others.append(path)

    def _is_written_here(self, folder: Path) -> bool:
        """Whether it is a study, a folder of results, or what the program keeps beside studies."""
        return (
            self._is_results(folder)
            or is_study(folder)
            or (folder.name in USED and self._keeps_results(folder.parent) and self._has_no_image(folder))
        )

    def _is_results(self, folder: Path) -> bool:
        """Whether it is one that was named, or holds nothing but what the program writes."""
        if _identity(folder) in self._results - self._above or (folder / LATENCIES).exists():
            return True
        below = [path for path in folder.iterdir() if not path.name.startswith(".")]
        return bool(below) and all(
            is_study(path) or (path.name in USED and path.is_dir() and self._has_no_image(path)) for path in below
        )

    def _keeps_results(self, folder: Path) -> bool:
        """Whether studies are or were to be written into it, which may hold the classes too."""
        there = _identity(folder) in self._results or (folder / LATENCIES).exists()
        exported = any((folder / EXPORTS).glob("*/architecture.yaml"))
        return there or exported or any(is_study(path) for path in folder.iterdir())

    def _has_no_image(self, folder: Path) -> bool:
        """A class may be called `bench`: its images tell it from what benchmarks write, readable or not."""
        return not any(
            path.is_symlink() or needs_plugin(path) or (path.is_file() and is_image(path, self._endings))
            for path in folder.rglob("*")
        )


def _identity(path: Path) -> tuple[int, int]:
    """The same for every path that leads to a folder."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_of_tools(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in _TOOLS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not _leads_nowhere(entry) and entry.is_dir()


def _leads_nowhere(entry: os.DirEntry[str]) -> bool:
    """A link to nothing, or to itself."""
    return entry.is_symlink() and not Path(entry).exists()


_SHOWN = 5


def shown(names: Sequence[str]) -> str:
    """All of a few, the first of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more


def names_below(root: Path, paths: Sequence[Path]) -> list[str]:
    """Where files lie in a data set."""
    return [path.relative_to(root).as_posix() for path in paths]
