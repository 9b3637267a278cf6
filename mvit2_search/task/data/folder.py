"""A folder of images: its parts, their classes and the images of each class, before any is opened."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import plugin_hints
from mvit2_search.task.data.layout import Layout, find_layout, refuse_parts_as_classes, refuse_same_subfolders
from mvit2_search.task.data.split import images_needed
from mvit2_search.task.data.walk import THUMBNAILS, Found, Walker, skipped_notes

_Classes = dict[str, list[Path]]


@dataclass(kw_only=True)
class Folder:
    """The images by part and class.

    Attributes:
        train, val, test: the same classes in the same order.
        below: what was found in each class.
        beside: what was found beside the folders of classes and parts.
        unused: in words, folders that hold no class.
    """

    root: Path
    layout: Layout
    train: _Classes = field(default_factory=dict)
    val: _Classes | None = None
    test: _Classes | None = None
    below: list[Found] = field(default_factory=list)
    beside: list[Found] = field(default_factory=list)
    unused: list[str] = field(default_factory=list)

    @property
    def parts(self) -> list[tuple[Path, _Classes]]:
        """The folder and classes of each part in use, the training images first."""
        layout = self.layout
        parts = [(layout.train, self.train), (layout.val, self.val), (layout.test, self.test)]
        return [(path, files) for path, files in parts if path is not None and files is not None]

    @property
    def found(self) -> list[Found]:
        return [*self.beside, *self.below]


def find_images(root: Path, results: Iterable[Path]) -> Folder:
    """Find the images below `root`, except in the folders `results`.

    Raises:
        DataError: there are no two classes with enough images in each part, or the layout is ambiguous.
        OSError: a folder cannot be read.
    """
    walker = Walker(root, results)
    layout = find_layout(root, walker)
    folder = Folder(root=root, layout=layout, unused=list(layout.unused))
    folder.beside = [walker.files_in(path) for path in dict.fromkeys([root, *layout.folders])]
    folder.train = _by_class(layout.train, walker, folder)
    if layout.train == root:
        refuse_same_subfolders(root, walker.folders(root), walker)
    folder.val = _held_out(layout.val, walker, folder)
    folder.test = _held_out(layout.test, walker, folder)
    _leave_out_thumbnails(folder)
    _refuse_single_class(layout.train, folder, walker)
    _refuse_small_classes(folder)
    return folder


def _by_class(part: Path, walker: Walker, folder: Folder) -> _Classes:
    classes = walker.folders(part)
    refuse_parts_as_classes(part, classes, walker)
    images = {}
    for path in classes:
        found = walker.below(path)
        folder.below.append(found)
        if found.images or not found.results:
            images[path.name] = found.images
    return images


def _held_out(part: Path | None, walker: Walker, folder: Folder) -> _Classes | None:
    """The classes of a held-out part; None if its one sub-folder is no class: unlabelled images."""
    if part is None:
        return None
    found = _by_class(part, walker, folder)
    if len(found) == 1 and (strange := found.keys() - folder.train.keys()):
        folder.unused.append(
            f"{part.name}/ (its one sub-folder, {strange.pop()}/, is no class of the training images)"
        )
        return None
    return found


def _leave_out_thumbnails(folder: Folder) -> None:
    """A class may be called `thumbs`, unless only one of several parts has it."""
    for path, files in folder.parts:
        for name in [name for name in files if name.lower() in THUMBNAILS]:
            others = [other for where, other in folder.parts if where != path]
            if others and not any(name in other for other in others):
                del files[name]
                folder.beside.append(Found(tools=[path / name]))


def _refuse_single_class(train: Path, folder: Folder, walker: Walker) -> None:
    if not any(folder.train.values()):
        loose = sum(len(found.images) for found in folder.beside)
        beside = f", found {counted(loose, 'image')} in the folder itself" if loose else ""
        raise DataError(f"{train}: no images; expected one sub-folder of images per class{beside}{_hints(folder)}")
    if len(folder.train) < 2:
        name = next(iter(folder.train))
        up = f"give --data {train / name}" if train == folder.root else f"move them up into {train.name}/"
        hint = f"; if its sub-folders are the classes, {up}" if walker.folders(train / name) else ""
        raise DataError(f"{train}: only one class, {name!r}; at least two are needed{hint}{_hints(folder)}")


def _refuse_small_classes(folder: Folder) -> None:
    """Raises one DataError that names every class with too few images in a part."""
    parts, bad = folder.parts, []
    names = sorted({name for _, files in parts for name in files})
    for i, (path, files) in enumerate(parts):
        needed = 1 if i else images_needed(len(parts) - 1)  # the training images come first
        for name in names:
            where, count = (path / name).relative_to(folder.root).as_posix(), len(files.get(name, ()))
            if name not in files:
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
