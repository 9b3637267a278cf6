"""The image files below a folder. Links are followed; folders of tools and results are not."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from mvit2_search.store.folders import EXPORTS, LATENCIES, USED, is_study
from mvit2_search.system.text import counted, first_few
from mvit2_search.task.data.decode import image_endings, is_image, needs_plugin

_TOOLS = {
    *("__macosx", "appledouble", "network trash folder", "temporary items", "__pycache__"),
    *("@eadir", "@tmp", "@sharebin", "@recycle", "#recycle", "#snapshot", "~snapshot", "@recently-snapshot"),
    *("$recycle.bin", "recycle.bin", "recycler", "recycled", "system volume information", "lost+found"),
    *("@__thumb", "__thumbs__", "_thumb", "_thumbs", "thumbnails", "_thumbnails"),
    "[originals]",
}
THUMBNAILS = {"thumb", "thumbs", "thumbnail", "_thumbnail"}  # below a class; a class may have such a name


@dataclass(kw_only=True)
class Found:
    """What is in a folder. Files are text: a million paths would fill a gigabyte."""

    images: list[str] = field(default_factory=list)
    others: list[str] = field(default_factory=list)  # files that are no images
    broken: list[str] = field(default_factory=list)  # links that lead nowhere
    again: list[Path] = field(default_factory=list)  # links to folders that were read already, or contain the link
    tools: list[Path] = field(default_factory=list)  # folders that tools keep
    results: list[Path] = field(default_factory=list)  # folders that this program writes


def skipped_notes(root: Path, found: Sequence[Found]) -> Iterator[str]:
    """Links and folders below `root` that were not read: of each kind how many, and which."""
    for kind, what, where in (
        ("broken", "broken link", ""),
        ("again", "link", " to folders that are read already or lie above, not followed"),
        ("tools", "folder", " of tools, left out"),
        ("results", "folder", " of results, left out"),
    ):
        if paths := [path for one in found for path in getattr(one, kind)]:
            yield f"{counted(len(paths), what)}{where}: {first_few(names_below(root, paths))}"


def names_below(root: Path, paths: Iterable[Path | str]) -> list[str]:
    """Paths relative to `root`."""
    return [Path(path).relative_to(root).as_posix() for path in paths]


def relative(root: Path) -> Callable[[str], str]:
    """What gives a path below `root` relative to it. By text, as it is asked a million times."""
    length = 0 if root == Path() else len(os.path.join(root, ""))
    return lambda path: path[length:]


class Walker:
    """Looks into the folders of the data set `root`, except for the folders `results`, whatever is in them.

    Links to `root` or to folders above it are not followed.
    """

    def __init__(self, root: Path, results: Iterable[Path] = ()) -> None:
        self._endings = image_endings()
        self._above = frozenset(_identity(path) for path in (root.resolve(), *root.resolve().parents))
        self._results = frozenset(_identity(path) for path in results if path.exists())
        self._is_written_here = cache(self._looks_written_here)

    def folders(self, folder: Path) -> list[Path]:
        """The sub-folders that may hold images, by name."""
        with os.scandir(folder) as entries:
            found = sorted(Path(one) for one in entries if _is_folder(one) and not _is_of_tools(one))
        return [path for path in found if not self._is_written_here(path)]

    def files_in(self, folder: Path) -> Found:
        """What is directly in a folder; hidden folders are not mentioned, as nobody expects them to be used."""
        found = Found()
        for entry in _sorted_entries(folder):
            if not _is_folder(entry):
                self._add_file(entry, found)
            elif entry.name.startswith("."):
                continue
            elif _is_of_tools(entry):
                found.tools.append(Path(entry))
            elif self._is_written_here(Path(entry)):
                found.results.append(Path(entry))
        return found

    def below(self, top: Path) -> Found:
        """What is in a folder and its sub-folders, each of which is read once, real ones before links."""
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
                found.results.append(folder)
                continue
            for entry in _sorted_entries(folder):
                if not _is_folder(entry):
                    self._add_file(entry, found)
                elif _is_of_tools(entry) or entry.name.lower() in THUMBNAILS:
                    found.tools.append(Path(entry))
                else:
                    (linked if entry.is_symlink() else real).append(Path(entry))
        return found

    def _add_file(self, entry: os.DirEntry[str], found: Found) -> None:
        """Hidden files are ignored."""
        if entry.name.startswith("."):
            return
        if _is_broken(entry):
            found.broken.append(entry.path)
        elif entry.is_file() and is_image(entry.path, self._endings):
            found.images.append(entry.path)
        else:
            found.others.append(entry.path)

    def _looks_written_here(self, folder: Path) -> bool:
        """Whether it is a study, a results folder, or something that the program writes beside studies."""
        return (
            self._is_results(folder)
            or is_study(folder)
            or (folder.name in USED and self._keeps_results(folder.parent) and self._has_no_image(folder))
        )

    def _is_results(self, folder: Path) -> bool:
        """Whether it is one of the given results folders, or holds nothing but what the program writes."""
        if _identity(folder) in self._results - self._above or (folder / LATENCIES).exists():
            return True
        is_empty = True
        with os.scandir(folder) as entries:
            for path in (Path(entry) for entry in entries if not entry.name.startswith(".")):
                if not (is_study(path) or (path.name in USED and path.is_dir() and self._has_no_image(path))):
                    return False
                is_empty = False
        return not is_empty

    def _keeps_results(self, folder: Path) -> bool:
        """Whether the program writes, wrote or is to write results there; the classes may be in it too."""
        there = _identity(folder) in self._results or (folder / LATENCIES).exists()
        exported = any((folder / EXPORTS).glob("*/architecture.yaml"))
        return there or exported or any(is_study(path) for path in folder.iterdir())

    def _has_no_image(self, folder: Path) -> bool:
        """Tells what benchmarks write from a class that is called `bench`; its images need not be readable."""
        return not any(
            path.is_symlink() or needs_plugin(str(path)) or (path.is_file() and is_image(str(path), self._endings))
            for path in folder.rglob("*")
        )


def _identity(path: Path) -> tuple[int, int]:
    """The same for every path to a folder."""
    status = path.stat()
    return status.st_dev, status.st_ino


def _sorted_entries(folder: Path) -> list[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        return sorted(entries, key=lambda entry: entry.name)


def _is_of_tools(entry: os.DirEntry[str]) -> bool:
    return entry.name.startswith(".") or entry.name.lower() in _TOOLS


def _is_folder(entry: os.DirEntry[str]) -> bool:
    return not _is_broken(entry) and entry.is_dir()


def _is_broken(entry: os.DirEntry[str]) -> bool:
    """A link to nothing, or to itself."""
    return entry.is_symlink() and not os.path.exists(entry)
