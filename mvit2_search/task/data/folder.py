"""A folder of images: its parts, their classes and the images of each class, before any is opened."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import plugin_hints
from mvit2_search.task.data.layout import find_parts, refuse_parts_as_classes, refuse_same_subfolders
from mvit2_search.task.data.split import images_needed
from mvit2_search.task.data.walk import THUMBNAILS, Found, Walker, skipped_notes


class Part(NamedTuple):
    """The images of each class in one part of a folder."""

    path: Path
    classes: dict[str, list[Path]]


@dataclass(kw_only=True)
class Folder:
    """What a folder contains.

    Attributes:
        parts: those of `train`, `val` and `test` that are in use, in this order, with the same classes in the same
            order; `train` is the folder itself if it has no parts.
        below, beside: what was found in the classes, and beside the folders of classes and parts.
        unused: in words, folders that hold no class.
    """

    root: Path
    parts: dict[str, Part] = field(default_factory=dict)
    below: list[Found] = field(default_factory=list)
    beside: list[Found] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def classes(self) -> list[str]:
        return list(self.parts["train"].classes)

    @property
    def found(self) -> list[Found]:
        return [*self.beside, *self.below]


def find_images(root: Path, results: Iterable[Path]) -> Folder:
    """Find the images below `root`, except in the folders `results`.

    Raises DataError if `root` is ambiguous, or has no two classes with enough images in each part; OSError if it
    cannot be read.
    """
    walker = Walker(root, results)
    paths, unused = find_parts(root, walker)
    folder = Folder(root=root, unused=unused)
    folder.beside = [walker.files_in(path) for path in dict.fromkeys([root, *paths.values()])]
    for name, path in paths.items():
        part = Part(path, _by_class(path, walker, folder))
        if path == root:
            refuse_same_subfolders(root, walker.folders(root), walker)
        if name != "train" and len(part.classes) == 1 and (strange := part.classes.keys() - {*folder.classes}):
            unlabelled = f"its one sub-folder, {strange.pop()}/, is no class of the training images"
            folder.unused.append(f"{path.name}/ ({unlabelled})")
        else:
            folder.parts[name] = part
    _leave_out_thumbnails(folder)
    _refuse_single_class(folder, walker)
    _refuse_small_classes(folder)
    return folder


def _by_class(path: Path, walker: Walker, folder: Folder) -> dict[str, list[Path]]:
    classes = walker.folders(path)
    refuse_parts_as_classes(path, classes, walker)
    images = {}
    for one in classes:
        found = walker.below(one)
        folder.below.append(found)
        if found.images or not found.results:
            images[one.name] = found.images
    return images


def _leave_out_thumbnails(folder: Folder) -> None:
    """A class may be called `thumbs`, unless only one of several parts has it."""
    for part in folder.parts.values():
        for name in [name for name in part.classes if name.lower() in THUMBNAILS]:
            others = [other for other in folder.parts.values() if other.path != part.path]
            if others and not any(name in other.classes for other in others):
                del part.classes[name]
                folder.beside.append(Found(tools=[part.path / name]))


def _refuse_single_class(folder: Folder, walker: Walker) -> None:
    path, classes = folder.parts["train"]
    if not any(classes.values()):
        loose = sum(len(found.images) for found in folder.beside)
        beside = f", found {counted(loose, 'image')} in the folder itself" if loose else ""
        raise DataError(f"{path}: no images; expected one sub-folder of images per class{beside}{_hints(folder)}")
    if len(classes) < 2:
        name = next(iter(classes))
        up = f"give `data` {path / name}" if path == folder.root else f"move them up into {path.name}/"
        hint = f"; if its sub-folders are the classes, {up}" if walker.folders(path / name) else ""
        raise DataError(f"{path}: only one class, {name!r}; at least two are needed{hint}{_hints(folder)}")


def _refuse_small_classes(folder: Folder) -> None:
    """Raises one DataError that names every class with too few images in a part."""
    names, bad = sorted({name for part in folder.parts.values() for name in part.classes}), []
    for part, (path, classes) in folder.parts.items():
        needed = images_needed(len(folder.parts) - 1) if part == "train" else 1
        for name in names:
            where, count = (path / name).relative_to(folder.root).as_posix(), len(classes.get(name, ()))
            if name not in classes:
                bad.append(f"{where} is missing")
            elif not count:
                bad.append(f"{where} has no images")
            elif count < needed:
                bad.append(f"{where} has {counted(count, 'image')} of {needed}")
    if bad:
        remedy = f"add images or remove their folders{_hints(folder)}"
        raise DataError(f"{folder.root}: classes that cannot be used: {'; '.join(bad)}; {remedy}")


def _hints(folder: Folder) -> str:
    """For an error: what was not read."""
    others = (path for found in folder.found for path in found.others)
    return "".join(f"; {hint}" for hint in (*skipped_notes(folder.root, folder.found), *plugin_hints(others)))
