"""The processes that train one network together, started by torchrun: each computes its part of every batch."""

import logging
import os
import sys
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any, TypeVar
from uuid import uuid4

import numpy as np
import torch
import torch.distributed as dist

from mvit2_search.errors import BackendUnavailable, SpecError, TrainingError

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

    def gathered(self, mine: T) -> list[T]:
        """What each process has, in the order of their ranks."""
        if self.world == 1:
            return [mine]
        found: list[Any] = [None] * self.world
        dist.all_gather_object(found, mine)
        return found

    def means(self, mine: Sequence[float]) -> tuple[float, ...]:
        """Of each number over the processes."""
        return tuple(map(fmean, zip(*self.gathered(mine), strict=True)))

    def share(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all processes the tensors of the first."""
        if self.world > 1:
            for tensor in tensors:
                dist.broadcast(tensor, 0)

    def average(self, tensors: Iterable[torch.Tensor]) -> None:
        """Give all processes the mean of each tensor over them."""
        if self.world > 1:
            for tensor in tensors:
                dist.all_reduce(tensor)
                tensor /= self.world

    def device(self, device: str) -> str:
        """The device of this process, where it is one of several; else what is given.

        Raises SpecError for a device that several cannot have each.
        """
        if self.world == 1 or device == "cpu":
            return device
        if device != "cuda":
            raise SpecError(f"`train_on` {device}: {self.world} processes train on cuda or cpu")
        return f"cuda:{self.local}"

    def indices(self, count: int) -> np.ndarray:
        """Of so many images, those that this process tests."""
        return np.arange(self.rank, count, self.world)

    def joined(self, mine: np.ndarray, count: int) -> np.ndarray:
        """What all processes found for their `indices`, in the order of the images."""
        parts = self.gathered(mine)
        whole = np.empty((count, *mine.shape[1:]), mine.dtype)
        for rank, part in enumerate(parts):
            whole[rank :: self.world] = part
        return whole


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
    local = int(os.environ["LOCAL_RANK"])
    try:
        if device.startswith("cuda"):
            torch.cuda.set_device(local)
        dist.init_process_group("cpu:gloo,cuda:nccl" if device.startswith("cuda") else "gloo")
    except (RuntimeError, ValueError) as err:
        raise BackendUnavailable(f"the processes of torchrun cannot reach each other: {err}") from err
    try:
        # 1x1 convolutions have gradients in another layout than DDP copies them to: a copy, no error
        warnings.filterwarnings("ignore", "Grad strides do not match bucket view strides")
        yield Ranks(rank=dist.get_rank(), world=dist.get_world_size(), local=local)
    finally:
        dist.destroy_process_group()


def run_ranks(count: int, arguments: Sequence[str], *, device: str) -> int:
    """Run this program with these arguments in `count` processes of this computer, by torchrun; the exit code.

    A process that ends ends all. What others than the first print is shown if one of them fails.

    Raises:
        BackendUnavailable: there are fewer CUDA devices.
        TrainingError: one of the processes was killed, or failed alone.
    """
    from torch.distributed.elastic.multiprocessing.api import DefaultLogsSpecs, SignalException, Std
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    devices = torch.cuda.device_count()
    if device.startswith("cuda") and count > devices:
        raise BackendUnavailable(f"`nproc` {count}: torch sees {devices} CUDA devices; give `nproc` {devices}")
    for name in ("torch.distributed.elastic", "torch.distributed.launcher"):
        logging.getLogger(name).setLevel(logging.CRITICAL)  # the first error says all that is needed
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // count)))
    with TemporaryDirectory(prefix="torchrun-") as logs:
        config = LaunchConfig(
            run_id=uuid4().hex,
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=count,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(logs, redirects=dict.fromkeys(range(1, count), Std.ALL)),
        )
        try:
            elastic_launch(config, sys.executable)("-m", "mvit2_search", *arguments)
        except SignalException as err:  # the processes have saved the training and said how to go on
            return 128 + int(err.sigval)
        except ChildFailedError as err:
            return _failed(err, count, Path(logs))
    return 0


def _failed(err: Any, count: int, logs: Path) -> int:
    """The exit code of the first process, which has said why it failed; TrainingError for another one."""
    rank, failure = err.get_first_failure()
    code = int(failure.exitcode)
    if rank == 0 and code > 0:
        return code
    if code < 0:
        raise TrainingError(
            f"process {rank} of {count} was killed by {failure.signal_name()}; the same command goes on with the "
            "training"
        ) from err
    said = [line for path in logs.glob(f"**/{rank}/stderr.log") for line in path.read_text().splitlines()]
    why = said[-1].removeprefix("error: ") if said else f"it ended with {code}"
    raise TrainingError(f"process {rank} of {count}: {why}") from err
