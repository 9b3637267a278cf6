"""The torch device to train on, and the random numbers of one training."""

import ctypes
import platform
import re
from collections.abc import Iterator
from typing import TypeVar

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


T = TypeVar("T")


def with_own_randomness(steps: Iterator[T], *, seed: int, device: str) -> Iterator[T]:
    """The items of `steps`, computed as if `torch.manual_seed(seed)` had been called before the first.

    Between two items the process has its own random state back. So trainings may take turns in one process, and
    none changes what another one draws. (Threads share torch's state: they cannot draw at the same moment.)
    `steps` computes on `device`, and draws weights on the CPU.
    """
    devices = sorted({"cpu", device})
    states = [torch.Generator(one).manual_seed(seed).get_state() for one in devices]
    while True:
        outside = _swapped(devices, states)
        try:
            item = next(steps)
        except StopIteration:
            return
        finally:
            states = _swapped(devices, outside)
        yield item


def _swapped(devices: list[str], states: list[torch.Tensor]) -> list[torch.Tensor]:
    """Set the random states of `devices`; what they were."""
    before = []
    for device, state in zip(devices, states, strict=True):
        if device == "cpu":
            before.append(torch.get_rng_state())
            torch.set_rng_state(state)
        else:
            module = torch.get_device_module(device)  # torch.cuda or torch.mps
            before.append(module.get_rng_state(device))
            module.set_rng_state(state, device)
    return before
