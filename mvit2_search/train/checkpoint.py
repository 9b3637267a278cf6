"""Checkpoints: folders that are written whole or not at all, and that are trusted only if their hashes are right.

checkpoint-last/       what the training goes on from
    model.safetensors      the weights in training
    averaged.safetensors   their moving average: the trained network
    optimizer.safetensors  state of the optimiser
    state.json             step, history and what the training was asked for
    SHA256SUMS             of these files, as `sha256sum -c` reads it
checkpoint-previous/   the same of the time before
checkpoint-best/       averaged.safetensors, state.json and SHA256SUMS at the best epoch
"""

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from mvit2_search.errors import SpecError, StorageError, first_line

LAST, PREVIOUS, BEST = "checkpoint-last", "checkpoint-previous", "checkpoint-best"
AVERAGED, MODEL, OPTIMIZER, STATE, SUMS = "averaged", "model", "optimizer", "state.json", "SHA256SUMS"

_UNFINISHED, _OLDER_BEST = ".unfinished-", f".older-{BEST}"

Tensors = Mapping[str, Tensor]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensors], state: Mapping[str, Any]) -> None:
    """Write the folder `path` anew: each of `tensors` as a file of safetensors, and `state` as JSON.

    Of LAST, what is there becomes PREVIOUS, unless it is damaged. Raises StorageError where the disk takes no
    more, and nothing is lost.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = Path(mkdtemp(prefix=_UNFINISHED, dir=path.parent))
        try:
            for name, content in tensors.items():
                save_file(
                    {key: one.detach().cpu().contiguous() for key, one in content.items()},
                    unfinished / f"{name}.safetensors",
                )
            (unfinished / STATE).write_text(json.dumps(state, indent=1) + "\n", encoding="utf-8")
            _write_sums(unfinished)
            _put_in_place(unfinished, path)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except (OSError, SafetensorError) as err:
        raise StorageError(
            f"{path}: cannot write: {_reason(err)}; what was saved before is kept: once there is room, repeat the "
            "command"
        ) from err


def _reason(err: Exception) -> str:
    return err.strerror if isinstance(err, OSError) and err.strerror else first_line(err)


def _write_sums(folder: Path) -> None:
    lines = [f"{file_sha256(file)}  {file.name}\n" for file in sorted(folder.iterdir())]
    (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    for file in folder.iterdir():
        file.chmod(0o666 & ~_umask())
        _sync(file)
    folder.chmod(0o777 & ~_umask())  # the temporary folder is the user's alone
    _sync(folder)


def _put_in_place(unfinished: Path, path: Path) -> None:
    older = path.with_name(PREVIOUS if path.name == LAST else _OLDER_BEST)
    if path.exists():
        if path.name == LAST and checkpoint_fault(path):
            shutil.rmtree(path)  # rather than the one before, which may be the only whole one
        else:
            shutil.rmtree(older, ignore_errors=True)
            path.rename(older)
    unfinished.rename(path)
    if path.name != LAST:
        shutil.rmtree(older, ignore_errors=True)
    _sync(path.parent)


def _umask() -> int:
    """What new files are not to be, which only setting it tells."""
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _sync(path: Path) -> None:
    """Until the disk has it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def file_sha256(path: Path) -> str:
    """Of its content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def checkpoint_fault(path: Path) -> str | None:
    """Why the folder is no whole checkpoint, if it is none."""
    try:
        lines = (path / SUMS).read_text(encoding="utf-8").splitlines()
        sums = {name: sha256 for sha256, name in (line.split("  ", 1) for line in lines)}
        damaged = [name for name, sha256 in sums.items() if not _has_sum(path / name, sha256)]
    except (OSError, ValueError):
        return f"{path}: damaged: {SUMS}"
    if damaged or STATE not in sums:
        return f"{path}: damaged: {', '.join(damaged) or SUMS}"
    return None


def _has_sum(file: Path, sha256: str) -> bool:
    return file.is_file() and file_sha256(file) == sha256


def remove_unfinished(folder: Path) -> None:
    """What a process was killed at while it wrote into a training's folder; nobody may be writing now."""
    older = folder / _OLDER_BEST
    if older.exists() and not (folder / BEST).exists():
        older.rename(folder / BEST)
    for path in (older, *folder.glob(f"{_UNFINISHED}*")):
        shutil.rmtree(path, ignore_errors=True)
    for path in folder.glob(".*.tmp"):  # of `write_atomically`
        path.unlink(missing_ok=True)


def newest_checkpoint(folder: Path) -> tuple[Path | None, list[str]]:
    """The newest whole checkpoint of a training's folder, and what is wrong with those that are newer."""
    faults: list[str] = []
    for path in (folder / LAST, folder / PREVIOUS):
        if path.exists():
            if (fault := checkpoint_fault(path)) is None:
                return path, faults
            faults.append(fault)
    if not faults and (folder / BEST).exists():
        faults.append(f"{folder}: has {BEST} and neither {LAST} nor {PREVIOUS}")
    return None, faults


def best_checkpoint(path: Path) -> Path:
    """The folder itself; of a training, its best checkpoint, or the newest before its first epoch ends.

    Raises:
        SpecError: it is neither.
        StorageError: the checkpoint is damaged.
    """
    newest, faults = newest_checkpoint(path)
    found = path / BEST if (path / BEST).is_dir() else newest or path
    if found == path and faults:
        raise StorageError("; ".join(faults))
    if not ((found / STATE).exists() or (found / SUMS).exists()):
        raise SpecError(f"{path}: expected the folder of a training, one of its checkpoints, or an exported file")
    if fault := checkpoint_fault(found):
        raise StorageError(fault)
    return found


def read_state(path: Path) -> dict[str, Any]:
    """The JSON of a checkpoint that has been checked."""
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def read_tensors(path: Path, name: str) -> dict[str, Tensor]:
    """The tensors of one of its files; raises StorageError if they cannot be read."""
    file = path / f"{name}.safetensors"
    try:
        return load_file(file)
    except (OSError, SafetensorError) as err:
        raise StorageError(f"{file}: cannot read: {err}") from err
