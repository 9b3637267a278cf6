"""What a user should know of a folder of images, in sentences."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from mvit2_search.data.classes import Folder
from mvit2_search.data.layout import part_named

_SHOWN = 5


def layout_remarks(root: Path, folder: Folder) -> Iterator[str]:
    """How the folder is read, and what lies in it and is not used."""
    yield from _parts(folder)
    if alike := [f"{name}/" for name in folder.train if part_named(name)]:
        yield f"{shown(alike)}: read as a class, as there are images but no classes in it; rename it if it is none"
    if folder.unused:
        yield f"not used: {shown(folder.unused)}"
    if folder.beside:
        yield f"{len(folder.beside)} images lie beside the folders of the classes and are not used"
    if others := sum(len(below.others) for below in folder.below):
        yield f"{others} files that are no images were left out"


def _parts(folder: Folder) -> Iterator[str]:
    """Where selection and confirmation come from, in a folder that has parts."""
    train, val, test = folder.layout.train.name, folder.layout.val, folder.layout.test
    held_out = [
        path.name
        for path, files in ((val, folder.val), (test, folder.test))
        if path is not None and files is not None
    ]
    match held_out:
        case [select, confirm]:
            yield f"{train}/ to train on, {select}/ to select by, {confirm}/ to confirm with"
        case [confirm]:
            yield f"{train}/ to train on and, a share of it, to select by; {confirm}/ to confirm with"


def shown(names: Sequence[str]) -> str:
    """All of a few, the first of many."""
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return "; ".join(names[:_SHOWN]) + more
