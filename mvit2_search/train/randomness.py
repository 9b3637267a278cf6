"""torch's random numbers of one training, apart from those of the process."""

from collections.abc import Iterator
from typing import Any, TypeVar

import torch

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
