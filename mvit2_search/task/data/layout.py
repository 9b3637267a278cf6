"""Which sub-folders of a data set are parts (training, validation, test), and which are classes.

    images/cat/1.jpg  images/dog/2.png                 classes alone
    images/train/cat/1.jpg ...  images/val/cat/9.jpg   parts: a folder named like one that holds folders

Anything ambiguous is refused: a search that learns `train` against `val` looks like any other.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.walk import Walker

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
