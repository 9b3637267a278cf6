"""Where to train: `auto`, `cpu`, `mps` or `cuda[:i]`."""

import re

import torch

from mvit2_search.errors import BackendUnavailable, SpecError


def resolve_train_device(train_on: str) -> str:
    """The device to train on; `auto` is the first of cuda, mps and cpu that is there.

    Raises:
        SpecError: not a device.
        BackendUnavailable: not on this machine.
    """
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d+)?", train_on):
        raise SpecError(f"--train-on {train_on!r}: expected auto, cpu, mps, cuda or cuda:1")
    if train_on == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if train_on.startswith("cuda"):
        count, index = torch.cuda.device_count(), int(train_on.partition(":")[2] or 0)
        if index >= count:
            raise BackendUnavailable(
                f"--train-on {train_on}: torch sees {count} CUDA devices; try --train-on auto"
            )
    if train_on == "mps" and not torch.backends.mps.is_available():
        raise BackendUnavailable("--train-on mps: needs a Mac with Apple silicon; try --train-on auto")
    return train_on
