"""Data sets whose images carry the number of their class, as the parts and classes of a folder."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.folder import Folder, Part, part_named, refuse_small_classes
from mvit2_search.task.data.source import Source

T = TypeVar("T")


class Numbered(NamedTuple):
    """The images of one part of a data set, called `name`, and the number of the class of each.

    A number is negative where the class is not known, as in the tests of competitions.
    """

    name: str
    paths: Sequence[str]
    numbers: Sequence[int]


def by_part(root: Path, names: Mapping[str, T]) -> dict[str, tuple[str, T]]:
    """What is named like a part of a data set, `train` first. What is alone and named like none is to train on.

    Raises DataError if several look like one part, or nothing is to train on.
    """
    if len(names) == 1 and not any(map(part_named, names)):
        return {"train": next(iter(names.items()))}
    parts: dict[str, tuple[str, T]] = {}
    for name, one in names.items():
        if part := part_named(name):
            if part in parts:
                raise DataError(
                    f"{root}: {parts[part][0]} and {name} both look like the {part} images; rename one"
                )
            parts[part] = name, one
    if "train" not in parts:
        raise DataError(f"{root}: has {', '.join(names)} but no train; rename what is to train on")
    return {part: parts[part] for part in ("train", "val", "test") if part in parts}


def numbered_folder(
    root: Path,
    source: Source,
    parts: Mapping[str, Numbered],
    name_of: Callable[[int], str],
    *,
    unused: Sequence[str],
) -> Folder:
    """Classes are in the order of their numbers. A part for tests without any known class is not used.

    Raises DataError if classes are not known or missing, or have too few images.
    """
    folder = Folder(root=root, source=source, unused=[*unused])
    used = {}
    for part, images in parts.items():
        unknown = [path for path, number in zip(images.paths, images.numbers, strict=True) if number < 0]
        if part != "train" and len(unknown) == len(images.paths):
            folder.unused.append(f"{images.name} ({counted(len(unknown), 'image')} without a class)")
            continue
        if unknown:
            found = f"{len(unknown)} of {len(images.paths)} images of {images.name or root} have no class"
            raise DataError(f"{found}, the first: {unknown[0]}; give each a number from 0, or leave them out")
        used[part] = images.name, _by_number(images)
    names = _names({number for _, paths in used.values() for number in paths}, name_of)
    for part, (name, paths) in used.items():
        folder.parts[part] = Part(root / name, {names[i]: paths[i] for i in names if i in paths})
    if len(folder.classes) < 2:
        found = f"only one class, {folder.classes[0]!r}," if folder.classes else "no images"
        raise DataError(f"{root}: {found} to train on; at least two classes are needed")
    refuse_small_classes(folder, "add images, or leave these classes out of all parts")
    return folder


def _by_number(images: Numbered) -> dict[int, list[str]]:
    found: dict[int, list[str]] = {}
    for path, number in zip(images.paths, images.numbers, strict=True):
        found.setdefault(number, []).append(path)
    return found


def _names(numbers: set[int], name_of: Callable[[int], str]) -> dict[int, str]:
    """Of each class, by its number; one with a name that another has too gets its number."""
    names: dict[int, str] = {}
    for number in sorted(numbers):
        name = name_of(number)
        names[number] = f"{name} ({number})" if name in names.values() else name
    return names
