"""The processes that train one network together, started by torchrun: each computes its part of every batch."""

import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import fmean
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist

from mvit2_search.errors import BackendUnavailable, TrainingError

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Ranks:
    """Which one of how many processes this is. Alone, nothing is exchanged.

    Attributes:
        rank: 0 for the one that writes and prints.
        local: its number on this computer, which is that of its CUDA device.
    """

    rank: int = 0
    world: int = 1
    local: int = 0

    @property
    def is_first(self) -> bool:
        return self.rank == 0

    def any(self, mine: bool) -> bool:
        """Whether it is so in any of the processes."""
        return bool(max(self._gathered(mine)))

    def of_first(self, mine: T) -> T:
        """What the first process has."""
        first: T = self._gathered(mine)[0]
        return first

    def means(self, mine: Sequence[float]) -> tuple[float, ...]:
        """Of each number over the processes."""
        return tuple(map(fmean, zip(*self._gathered(mine), strict=True)))

    def device(self, device: str) -> str:
        """The CUDA device of this process, where it is one of several; else what is given."""
        return f"cuda:{self.local}" if device == "cuda" and self.world > 1 else device

    def indices(self, count: int) -> np.ndarray:
        """Of so many images, those that this process tests."""
        return np.arange(self.rank, count, self.world)

    def joined(self, mine: np.ndarray, count: int) -> np.ndarray:
        """What all processes found for their `indices`, in the order of the images."""
        parts = self._gathered(mine)
        whole = np.empty((count, *mine.shape[1:]), mine.dtype)
        for rank, part in enumerate(parts):
            whole[rank :: self.world] = part
        return whole

    def _gathered(self, mine: Any) -> list[Any]:
        if self.world == 1:
            return [mine]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, mine)
        return found


ALONE = Ranks()


def started_by_torchrun() -> bool:
    return "TORCHELASTIC_RUN_ID" in os.environ


@contextmanager
def joined_ranks(device: str) -> Iterator[Ranks]:
    """The processes that torchrun started, once all are there; this one alone without torchrun.

    Raises BackendUnavailable if they cannot reach each other.
    """
    if not started_by_torchrun():
        yield ALONE
        return
    try:
        dist.init_process_group("nccl" if device.startswith("cuda") else "gloo")
    except (RuntimeError, ValueError) as err:
        raise BackendUnavailable(f"the processes of torchrun cannot reach each other: {err}") from err
    try:
        yield Ranks(rank=dist.get_rank(), world=dist.get_world_size(), local=int(os.environ["LOCAL_RANK"]))
    finally:
        dist.destroy_process_group()


def run_ranks(count: int, arguments: Sequence[str]) -> None:
    """Run this program's command with these arguments in `count` processes of this computer, by torchrun.

    Raises TrainingError if one of them fails; torchrun ends the others.
    """
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)  # the error says all that is needed
    config = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=count,
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,
    )
    try:
        elastic_launch(config, sys.executable)("-m", "mvit2_search", *arguments)
    except ChildFailedError as err:
        rank, failure = err.get_first_failure()
        raise TrainingError(
            f"process {rank} of {count} ended with {failure.exitcode}; the same command goes on with the training"
        ) from err


def check_count(count: int, device: str) -> None:
    """Raises BackendUnavailable for more processes than there are CUDA devices."""
    if device.startswith("cuda") and count > torch.cuda.device_count():
        raise BackendUnavailable(f"`nproc` {count}: torch sees {torch.cuda.device_count()} CUDA devices")
