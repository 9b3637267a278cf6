"""The torch device to train on, and the random numbers of one training."""

import ctypes
import platform
import re
from collections.abc import Iterator
from typing import Any, TypeVar

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


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_THRESHOLD = -1, -2, -3  # names of malloc.h's M_ options


def keep_freed_memory() -> None:
    """Tell glibc to keep freed memory for the next step instead of giving it back to the system.

    By default every training step returns its tensors' pages and faults them in again, which takes a
    fifth to a third of the time of small networks. Does nothing where the C library is another.
    """
    if platform.libc_ver()[0] != "glibc":
        return
    libc = ctypes.CDLL(None)
    libc.mallopt(_MMAP_THRESHOLD, 1 << 30)
    libc.mallopt(_TRIM_THRESHOLD, (1 << 31) - 1)
    libc.mallopt(_TOP_PAD, 1 << 28)


T = TypeVar("T")


def with_own_randomness(steps: Iterator[T], *, seed: int, device: str) -> Iterator[T]:
    """The items of `steps`, computed as if `torch.manual_seed(seed)` had been called before the first.

    Between two items the process has its own random state back. So trainings may take turns in one process, and
    none changes what another one draws. (Threads share torch's state: they cannot draw at the same moment.)

    Args:
        device: where `steps` computes; weights are drawn on the CPU.
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
    before = [_state(device) for device in devices]
    for device, state in zip(devices, states, strict=True):
        if device == "cpu":
            torch.set_rng_state(state)
        else:
            _module(device).set_rng_state(state, device)
    return before


def _state(device: str) -> torch.Tensor:
    if device == "cpu":
        return torch.get_rng_state()
    state: torch.Tensor = _module(device).get_rng_state(device)
    return state


def _module(device: str) -> Any:
    """`torch.cuda` or `torch.mps`."""
    return getattr(torch, torch.device(device).type)
