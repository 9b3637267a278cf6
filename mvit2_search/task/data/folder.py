"""A folder of images: its parts (training, validation, test), their classes and images, before any is opened.

    images/cat/1.jpg  images/dog/2.png                 classes alone
    images/train/cat/1.jpg ...  images/val/cat/9.jpg   parts: a folder named like one that holds folders

Anything ambiguous is refused: a search that learns `train` against `val` looks like any other.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.decode import plugin_hints
from mvit2_search.task.data.source import ImageFiles, Source
from mvit2_search.task.data.walk import THUMBNAILS, Found, Walker, skipped_notes

_NAMES = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev", "eval", "evaluation"},
    "test": {"test", "testing", "tst", "heldout", "holdout"},
}
_SUFFIX = re.compile(r"(set|data|images|imgs|split)$")  # training_set, test-images
_WORDS, _CAPITALS = re.compile(r"([^A-Za-z]+)"), re.compile(r"((?<=[a-z])(?=[A-Z]))")  # what separates words
_MOST_LISTED = 5
NO_CLASSES = {"unlabeled", "unlabelled", "unsupervised", "unsup", "unused", "extra", "extras"}


def find_parts(folder: Path, walker: Walker) -> tuple[dict[str, Path], list[str]]:
    """The folders of `train` and, if there are such, `val` and `test`; and in words what is beside them.

    A folder without parts is `train` itself. Raises DataError if it is ambiguous, or has nothing to train on.
    """
    below = walker.folders(folder)
    parts: dict[str, Path] = {}
    for path in below:
        if (part := part_named(path.name)) and walker.folders(path):
            if part in parts:
                raise DataError(
                    f"{folder}: {_listed([parts[part], path])} both look like the {part} images; "
                    "join them, or rename what is something else"
                )
            parts[part] = path
    if not parts:
        return {"train": folder}, []
    if "train" not in parts:
        raise DataError(
            f"{folder}: has {_listed(parts.values())} but no train/ with a sub-folder per class; "
            "add it, or rename what is a class"
        )
    others = [path for path in below if path not in parts.values()]
    _refuse_mixtures(folder, others, parts, walker)
    ordered = {part: parts[part] for part in _NAMES if part in parts}
    return ordered, [f"{path.name}/ ({_contents(path, walker)})" for path in others]


def part_named(name: str) -> str | None:
    """`train`, `val` or `test` if a folder is named like one: `Training`, `test_set`, `val2017`."""
    letters = _SUFFIX.sub("", re.sub(r"[^a-z]", "", name.lower()))
    return next((part for part, names in _NAMES.items() if letters in names), None)


def refuse_parts_as_classes(root: Path, classes: list[Path], walker: Walker) -> None:
    """Raises DataError if classes look like parts, or one contains parts. A single one may have such a name."""
    if alike := _named_like_parts(classes):
        raise DataError(
            f"{root}: {_listed(alike)} look like parts of a data set, not classes; {_remedy(alike, walker)}"
        )
    if len(classes) < 2:
        return
    for path in classes:
        inside = [sub for sub in walker.folders(path) if part_named(sub.name)]
        if len({part_named(sub.name) for sub in inside}) > 1:
            raise DataError(
                f"{root}: parts of a data set inside of a class, {path.name}/ has {_listed(inside)}; put the "
                "parts above the classes: train/<class>/, val/<class>/"
            )


def refuse_same_subfolders(root: Path, classes: list[Path], walker: Walker) -> None:
    """Raises DataError if all classes share sub-folders of images, as parts of any name share their classes.

    Not if one has further sub-folders and one has images beside its own: then they are classes.
    """
    if len(classes) < 2:
        return
    inside = [{sub.name.lower(): sub for sub in walker.folders(path)} for path in classes]
    common = sorted(set.intersection(*(set(names) for names in inside)))
    if any(len(names) > len(common) for names in inside) and any(walker.files_in(path).images for path in classes):
        return
    if len(common) > 1 and all(walker.below(names[name]).images for names in inside for name in common):
        shared = _listed_if_few([inside[0][name] for name in common])
        raise DataError(
            f"{root}: {_listed_if_few(classes)} each have {shared}, as the parts of a data set do; if they "
            f"are parts, give one, `data` {classes[0]}, or call them train/, val/ and test/; if they are classes, "
            "move them into a folder train/"
        )


def _remedy(alike: list[Path], walker: Walker) -> str:
    if not all(walker.folders(path) for path in alike):
        into = f"sort their images into {alike[0].name}/<class>/ and so on"
    elif all(part_named(path.name) for path in alike):
        into = f"give the folder that holds them, `data` {alike[0].parent}"
    else:
        into = "call them train/, val/ and test/"
    return f"{into}, or rename them if they are classes"


def _named_like_parts(classes: list[Path]) -> list[Path]:
    """Folders whose names differ only in the name of a part, of two parts at least: `seg_train` and `seg_test`.

    If capitals separate the words, as in `trainA` and `testA`, one part must be training: not `DevOps` and
    `TestOps`.
    """
    alike = set[Path]()
    for separator in (_WORDS, _CAPITALS):
        kinds: dict[str, dict[Path, str]] = {}
        for path in classes:
            for words in ([path.name], separator.split(path.name)):
                for i, word in enumerate(words):
                    if part := part_named(word):
                        rest = "".join([*words[:i], *words[i + 1 :]])
                        kinds.setdefault(rest.lower(), {})[path] = part
        for found in kinds.values():
            parts = set(found.values())
            if len(parts) > 1 and (separator is _WORDS or "train" in parts):
                alike |= found.keys()
    return sorted(alike)


def _refuse_mixtures(folder: Path, others: list[Path], parts: dict[str, Path], walker: Walker) -> None:
    """Raises DataError if a folder beside the parts looks like a class."""
    classes = {path.name for path in walker.folders(parts["train"])}
    alone = len(parts) == 1  # then `train` may be a class with folders of its own
    if mixed := [path for path in others if _looks_like_a_class(path, classes, walker, alone=alone)]:
        names = _listed(parts.values())
        raise DataError(
            f"{folder}: {names} look like parts of a data set and {_listed(mixed)} like classes; move the classes "
            f"into {parts['train'].name}/ or elsewhere, or rename {names} if they are classes themselves"
        )


def _looks_like_a_class(path: Path, classes: set[str], walker: Walker, *, alone: bool) -> bool:
    """Beside `train` alone, any folder of images may be one."""
    if path.name in classes:
        return True
    if not alone or part_named(path.name) or path.name.lower() in NO_CLASSES:
        return False
    inside = {sub.name for sub in walker.folders(path)}
    return not inside & classes and bool(walker.below(path).images)


def _contents(path: Path, walker: Walker) -> str:
    images = len(walker.below(path).images)
    without_classes = images and part_named(path.name) and not walker.folders(path)
    found = counted(images, "image") if images else "no images"
    return f"{found}, no sub-folder per class" if without_classes else found


def _listed(paths: Iterable[Path]) -> str:
    *most, last = [f"{path.name}/" for path in paths]
    return f"{', '.join(most)} and {last}" if most else last


def _listed_if_few(paths: list[Path]) -> str:
    return _listed(paths) if len(paths) <= _MOST_LISTED else f"{paths[0].name}/ and {len(paths) - 1} more"


class Part(NamedTuple):
    """The images of each class in one part of a folder."""

    path: Path
    classes: dict[str, list[str]]


@dataclass(kw_only=True)
class Folder:
    """What a folder contains."""

    root: Path
    parts: dict[str, Part] = field(default_factory=dict)  # in use, `train` first, with the same classes in order
    below: list[Found] = field(default_factory=list)  # in the classes
    beside: list[Found] = field(default_factory=list)  # beside the folders of classes and parts
    unused: list[str] = field(default_factory=list)  # in words, folders that hold no class
    source: Source = field(default_factory=ImageFiles)  # what gives the contents of the images

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
    refuse_small_classes(folder, "add images or remove their folders")
    return folder


def _by_class(path: Path, walker: Walker, folder: Folder) -> dict[str, list[str]]:
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


def refuse_small_classes(folder: Folder, remedy: str) -> None:
    """Raises one DataError that names every class with too few images in a part."""
    names, bad = sorted({name for part in folder.parts.values() for name in part.classes}), []
    for part, (path, classes) in folder.parts.items():
        needed = 4 - len(folder.parts) if part == "train" else 1  # one for each split that is cut from it
        for name in names:
            where, count = (path / name).relative_to(folder.root).as_posix(), len(classes.get(name, ()))
            if name not in classes:
                bad.append(f"{where} is missing")
            elif not count:
                bad.append(f"{where} has no images")
            elif count < needed:
                bad.append(f"{where} has {counted(count, 'image')} of {needed}")
    if bad:
        raise DataError(f"{folder.root}: classes that cannot be used: {'; '.join(bad)}; {remedy}{_hints(folder)}")


def _hints(folder: Folder) -> str:
    """For an error: what was not read."""
    others = (path for found in folder.found for path in found.others)
    return "".join(f"; {hint}" for hint in (*skipped_notes(folder.root, folder.found), *plugin_hints(others)))
