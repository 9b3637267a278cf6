"""The images of every class in every part of a folder, and what lies there besides."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import plugin_hints
from mvit2_search.task.data.layout import (
    Files,
    Layout,
    find_layout,
    images_needed,
    refuse_alike_insides,
    refuse_parts_as_classes,
)
from mvit2_search.task.data.walk import THUMBNAILS, Found, Walker, names_below, shown

_Classes = dict[str, list[Path]]


@dataclass(kw_only=True)
class Folder:
    """A folder of images before any is opened.

    Attributes:
        root: the data set.
        train, val, test: the same classes in the same order.
        below: what was found below each class.
        beside: what lies beside the folders of classes and parts.
        unused: folders that hold no class, in words.
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
        """The folders of the parts in use, the training images first."""
        layout = self.layout
        parts = [(layout.train, self.train), (layout.val, self.val), (layout.test, self.test)]
        return [(path, files) for path, files in parts if path is not None and files is not None]

    @property
    def found(self) -> list[Found]:
        return [*self.beside, *self.below]


def find_images(root: Path, results: Iterable[Path]) -> Folder:
    """Look through `root`, but not through what lies in `results`.

    Raises:
        DataError: there are no two classes with enough images in each part, or the layout is unclear.
        OSError: a folder cannot be read.
    """
    walker = Walker(root, results)
    layout = find_layout(root, walker)
    folder = Folder(root=root, layout=layout, unused=list(layout.unused))
    folder.beside = [walker.files_in(path) for path in dict.fromkeys([root, *layout.folders])]
    folder.train = _by_class(layout.train, walker, folder)
    if layout.train == root:
        refuse_alike_insides(root, walker.folders(root), walker)
    folder.val = _held_out(layout.val, walker, folder)
    folder.test = _held_out(layout.test, walker, folder)
    _leave_out_thumbnails(folder)
    _refuse_too_few(layout.train, folder, walker)
    _refuse_unusable_classes(root, folder)
    return folder


def _by_class(root: Path, walker: Walker, folder: Folder) -> _Classes:
    classes = walker.folders(root)
    refuse_parts_as_classes(root, classes, walker)
    found = {}
    for path in classes:
        below = walker.below(path)
        folder.below.append(below)
        if below.images or not below.studies:
            found[path.name] = below.images
    return found


def _held_out(root: Path | None, walker: Walker, folder: Folder) -> _Classes | None:
    """The classes of a held-out part, or None where its one sub-folder is no class: images without labels."""
    if root is None:
        return None
    found = _by_class(root, walker, folder)
    if len(found) == 1 and (strange := found.keys() - folder.train.keys()):
        folder.unused.append(
            f"{root.name}/ (its one sub-folder, {strange.pop()}/, is no class of the training images)"
        )
        return None
    return found


def _leave_out_thumbnails(folder: Folder) -> None:
    """A class may be called `thumbs`, but not in one part alone."""
    for path, files in folder.parts:
        for name in [name for name in files if name.lower() in THUMBNAILS]:
            others = [other for where, other in folder.parts if where != path]
            if others and not any(name in other for other in others):
                del files[name]
                folder.beside.append(Found(tools=[path / name]))


def _refuse_too_few(root: Path, folder: Folder, walker: Walker) -> None:
    hints = _hints(folder)
    if not any(folder.train.values()):
        loose = sum(len(found.images) for found in folder.beside)
        beside = f", found {counted(loose, 'image')} in the folder itself" if loose else ""
        raise DataError(f"{root}: no images; expected one sub-folder of images per class{beside}{hints}")
    if len(folder.train) < 2:
        name = next(iter(folder.train))
        inside = bool(walker.folders(root / name))
        up = f"give `data` {root / name}" if root == folder.root else f"move them up into {root.name}/"
        hint = f"; if its sub-folders are the classes, {up}" if inside else ""
        raise DataError(f"{root}: only one class, {name!r}; two are needed to tell apart{hint}{hints}")


def dangling_remarks(folder: Folder) -> list[str]:
    """How many links lead nowhere, and which."""
    found = names_below(folder.root, [path for one in folder.found for path in one.dangling])
    leads = "leads" if len(found) == 1 else "lead"
    return [f"{counted(len(found), 'link')} {leads} nowhere: {shown(found)}"] if found else []


def again_remarks(folder: Folder) -> list[str]:
    """How many links are not followed, and which."""
    found = names_below(folder.root, [path for one in folder.found for path in one.again])
    many = counted(len(found), "link")
    return [f"{many} to folders that are read already or lie above, not followed: {shown(found)}"] if found else []


def studies_remarks(folder: Folder) -> list[str]:
    """How many folders of the program's own are left out, and which."""
    found = names_below(folder.root, [path for one in folder.found for path in one.studies])
    return [f"{counted(len(found), 'folder')} of results, left out: {shown(found)}"] if found else []


def tools_remarks(folder: Folder) -> list[str]:
    """How many folders that tools keep are left out, and which."""
    found = names_below(folder.root, [path for one in folder.found for path in one.tools])
    return [f"{counted(len(found), 'folder')} of tools, left out: {shown(found)}"] if found else []


def _hints(folder: Folder) -> str:
    """What is not read though somebody may count on it, to be added to an error."""
    others = (path for one in folder.found for path in one.others)
    links = (*dangling_remarks(folder), *again_remarks(folder))
    hints = (*links, *tools_remarks(folder), *studies_remarks(folder), *plugin_hints(others))
    return "".join(f"; {hint}" for hint in hints)


def _refuse_unusable_classes(root: Path, folder: Folder) -> None:
    """Raises one DataError that names every class with too few images in a part."""
    parts = folder.parts
    names = sorted({name for _, files in parts for name in files})
    needed = images_needed(len(parts) - 1)
    bad = [text for i, part in enumerate(parts) for text in _unusable(root, part, names, 1 if i else needed)]
    if bad:
        remedy = f"add images or remove their folders{_hints(folder)}"
        raise DataError(f"{root}: classes that cannot be used: {'; '.join(bad)}; {remedy}")


def _unusable(root: Path, part: tuple[Path, Files], names: list[str], needed: int) -> Iterator[str]:
    path, files = part
    for name in names:
        where = (path / name).relative_to(root).as_posix()
        if name not in files:
            yield f"{where} is missing"
        elif len(files[name]) < needed:
            found = counted(len(files[name]), "image")
            yield f"{where} has {found} of {needed}" if files[name] else f"{where} has no images"
