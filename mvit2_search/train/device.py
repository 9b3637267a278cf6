"""Where networks are trained: the torch device, and its memory."""

import ctypes
import os
import platform
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
        raise SpecError(f"`train_on` {train_on!r}: expected auto, cpu, mps, cuda or cuda:1")
    if train_on == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if train_on.startswith("cuda"):
        count, index = torch.cuda.device_count(), int(train_on.partition(":")[2] or 0)
        if index >= count:
            raise BackendUnavailable(
                f"`train_on` {train_on}: torch sees {count} CUDA devices; try `train_on` auto"
            )
    if train_on == "mps" and not torch.backends.mps.is_available():
        raise BackendUnavailable("`train_on` mps: needs a Mac with Apple silicon; try `train_on` auto")
    return train_on


def default_workers(device: str, world: int) -> int:
    """Processes that prepare batches beside each of `world` that train; on a CPU, training takes all its cores."""
    return 0 if device == "cpu" else max(1, min(8, (os.cpu_count() or 1) // world - 1))


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of giving it back to the system.

    By default every training step returns its tensors' pages and faults them in again, which takes a
    fifth to a third of the time of small networks. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    trim_threshold, top_pad, mmap_threshold = -1, -2, -3  # malloc.h's M_ options
    libc = ctypes.CDLL(None)
    libc.mallopt(mmap_threshold, 1 << 30)
    libc.mallopt(trim_threshold, (1 << 31) - 1)
    libc.mallopt(top_pad, 1 << 28)
