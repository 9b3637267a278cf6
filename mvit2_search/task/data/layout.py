"""Which image is used for what.

It depends on its path inside the folder and on nothing else, so that the same folder is divided the same way
every time.

Which folders hold the images to train on, to select by and to confirm with, and which are classes.

    images/cat/1.jpg  images/dog/2.png                 classes alone
    images/train/cat/1.jpg ...  images/val/cat/9.jpg   parts: a folder named like one that holds folders

What might be read in two ways is refused: networks that learn `train` against `val` look like any other search.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from mvit2_search.errors import DataError
from mvit2_search.system.text import counted
from mvit2_search.task.data.walk import Walker

_NAMES = {
    "train": {"train", "training", "trn"},
    "val": {"val", "valid", "validation", "dev", "eval", "evaluation"},
    "test": {"test", "testing", "tst", "heldout", "holdout"},
}
_AFTER_A_NAME = re.compile(r"(set|data|images|imgs|split)$")  # training_set, test-images
_SHOWN = 5
_ENDS, _CAPITALS = re.compile(r"([^A-Za-z]+)"), re.compile(r"((?<=[a-z])(?=[A-Z]))")  # of words
NO_CLASSES = {"unlabeled", "unlabelled", "unsupervised", "unsup", "unused", "extra", "extras"}


@dataclass(frozen=True, kw_only=True, slots=True)
class Layout:
    """The folders that hold a folder for each class; `train` is the data set itself where it has no parts.

    Attributes:
        unused: what else lies beside the parts, in words.
    """

    train: Path
    val: Path | None = None
    test: Path | None = None
    unused: tuple[str, ...] = ()

    @property
    def folders(self) -> list[Path]:
        return [path for path in (self.train, self.val, self.test) if path is not None]


def find_layout(folder: Path, walker: Walker) -> Layout:
    """Read the names and the insides of the sub-folders.

    Raises:
        DataError: they can be read in two ways, or there is nothing to train on.
    """
    below = walker.folders(folder)
    parts = _parts(folder, [path for path in below if part_named(path.name) and walker.folders(path)])
    if not parts:
        return Layout(train=folder)
    if "train" not in parts:
        raise DataError(
            f"{folder}: has {_listed(parts.values())} but no train/ with a sub-folder per class; "
            "add it, or rename what is a class"
        )
    others = [path for path in below if path not in parts.values()]
    _refuse_mixtures(folder, others, parts, walker)
    return Layout(**parts, unused=tuple(f"{path.name}/ ({_what(path, walker)})" for path in others))


def part_named(name: str) -> str | None:
    """`train`, `val` or `test` where a folder is named like one: `Training`, `test_set`, `val2017`."""
    letters = _AFTER_A_NAME.sub("", re.sub(r"[^a-z]", "", name.lower()))
    return next((part for part, names in _NAMES.items() if letters in names), None)


def refuse_parts_as_classes(root: Path, classes: list[Path], walker: Walker) -> None:
    """Raises DataError where classes look like parts, or one has parts inside. One alone may be called so."""
    if alike := _named_alike(classes):
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


def refuse_alike_insides(root: Path, classes: list[Path], walker: Walker) -> None:
    """Raises DataError where all classes share sub-folders of images, as parts of any name share classes.

    Where one has others besides, images beside them say that it is a class.
    """
    if len(classes) < 2:
        return
    inside = [{sub.name.lower(): sub for sub in walker.folders(path)} for path in classes]
    common = sorted(set.intersection(*(set(names) for names in inside)))
    if any(len(names) > len(common) for names in inside) and any(walker.files_in(path).images for path in classes):
        return
    if len(common) > 1 and all(walker.below(names[name]).images for names in inside for name in common):
        shared = _shortly([inside[0][name] for name in common])
        raise DataError(
            f"{root}: {_shortly(classes)} each have {shared}, as the parts of a data set do; if they "
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


def _named_alike(classes: list[Path]) -> list[Path]:
    """The folders whose names differ in a part's name alone, of two kinds: `seg_train` and `seg_test`.

    Of words in capitals, as in `trainA` and `testA`, one has to be for training: `DevOps` and `TestOps` are none.
    """
    alike = set[Path]()
    for ends in (_ENDS, _CAPITALS):
        kinds: dict[str, dict[Path, str]] = {}
        for path in classes:
            for whole in ([path.name], ends.split(path.name)):
                for i, word in enumerate(whole):
                    if part := part_named(word):
                        rest = "".join([*whole[:i], *whole[i + 1 :]])
                        kinds.setdefault(rest.lower(), {})[path] = part
        for found in kinds.values():
            parts = set(found.values())
            if len(parts) > 1 and (ends is _ENDS or "train" in parts):
                alike |= found.keys()
    return sorted(alike)


def _parts(folder: Path, alike: Iterable[Path]) -> dict[str, Path]:
    parts: dict[str, Path] = {}
    for path in alike:
        part = part_named(path.name)
        assert part is not None
        if part in parts:
            raise DataError(
                f"{folder}: {_listed([parts[part], path])} both look like the {part} images; "
                "join them, or rename what is something else"
            )
        parts[part] = path
    return parts


def _refuse_mixtures(folder: Path, others: list[Path], parts: dict[str, Path], walker: Walker) -> None:
    """Raises DataError where a folder beside the parts looks like a class."""
    classes = {path.name for path in walker.folders(parts["train"])}
    alone = len(parts) == 1  # a class may be called train and have folders of its own
    if mixed := [path for path in others if _looks_like_a_class(path, classes, walker, alone=alone)]:
        names = _listed(parts.values())
        raise DataError(
            f"{folder}: {names} look like parts of a data set and {_listed(mixed)} like classes; move the classes "
            f"into {parts['train'].name}/ or elsewhere, or rename {names} if they are classes themselves"
        )


def _looks_like_a_class(path: Path, classes: set[str], walker: Walker, *, alone: bool) -> bool:
    """Beside training images alone every folder of images may be one."""
    if path.name in classes:
        return True
    if not alone or part_named(path.name) or path.name.lower() in NO_CLASSES:
        return False
    inside = {sub.name for sub in walker.folders(path)}
    return not inside & classes and bool(walker.below(path).images)


def _what(path: Path, walker: Walker) -> str:
    images = len(walker.below(path).images)
    no_classes = images and part_named(path.name) and not walker.folders(path)
    return (counted(images, "image") if images else "no images") + (
        ", no sub-folder per class" if no_classes else ""
    )


def _listed(paths: Iterable[Path]) -> str:
    *most, last = [f"{path.name}/" for path in paths]
    return f"{', '.join(most)} and {last}" if most else last


def _shortly(paths: list[Path]) -> str:
    return _listed(paths) if len(paths) <= _SHOWN else f"{paths[0].name}/ and {len(paths) - 1} more"


Files = Mapping[str, Sequence[Path]]
"""The images of each class."""

_TEST_SHARE, _MAX_TEST = 0.2, 5_000  # of selection and of confirmation


@dataclass(frozen=True, kw_only=True, slots=True)
class Labelled:
    """An image and the place of its class among the classes."""

    path: Path
    label: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Division:
    """Which file is used for what, before any is opened; classes are mixed in each part."""

    train: list[Labelled]
    selection: list[Labelled]
    confirmation: list[Labelled]

    @property
    def parts(self) -> tuple[list[Labelled], list[Labelled], list[Labelled]]:
        return self.train, self.selection, self.confirmation


def images_needed(held_out: int) -> int:
    """How many training images a class needs where so many parts are held out: one for each part cut from them."""
    return 3 - held_out


def divide(folder: Path, train: Files, val: Files | None, test: Files | None, *, max_train: int) -> Division:
    """Select by `val` and confirm with `test`; what is not there is cut from the training images.

    One held-out part alone is for the confirmation, which the search must not see.

    Args:
        train, val, test: with the same classes in the same order, `images_needed` of each in `train`.
    """
    selection, confirmation = (val, test) if val is not None and test is not None else (None, val or test)
    share = _test_share(train)
    if confirmation is None:
        train, confirmation = _cut(folder, train, share)
        share /= 1 - share  # of what is left
    if selection is None:
        train, selection = _cut(folder, train, share)
    return Division(
        train=_mixed(folder, train, max_train),
        selection=_mixed(folder, selection, _MAX_TEST),
        confirmation=_mixed(folder, confirmation, _MAX_TEST),
    )


def _test_share(files: Files) -> float:
    return min(_TEST_SHARE, _MAX_TEST / sum(map(len, files.values())))


def _cut(folder: Path, files: Files, share: float) -> tuple[Files, Files]:
    """Each class in two: the most, and `share` of it but at least one image."""
    most, rest = {}, {}
    for name, paths in files.items():
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        count = max(1, round(share * len(paths)))
        rest[name], most[name] = ordered[:count], ordered[count:]
    return most, rest


def _mixed(folder: Path, files: Files, most: int) -> list[Labelled]:
    """At most about `most` images in the classes' proportions, one of each at least, classes mixed."""
    share = min(1.0, most / sum(map(len, files.values())))
    kept = []
    for label, paths in enumerate(files.values()):
        ordered = sorted(paths, key=lambda path: _rank(folder, path))
        kept += [Labelled(path=path, label=label) for path in ordered[: max(1, round(share * len(paths)))]]
    return sorted(kept, key=lambda file: _rank(folder, file.path, "order "))


def _rank(folder: Path, path: Path, salt: str = "") -> bytes:
    """A fixed shuffle for each salt: the place of a file depends on its own path alone."""
    name = salt + path.relative_to(folder).as_posix()
    return hashlib.sha256(name.encode("utf-8", "surrogateescape")).digest()
