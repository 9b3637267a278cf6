"""A full training: it is saved as it goes, and goes on where it was killed, to the same weights bit for bit."""

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any, Protocol

import torch
from torch import Tensor

from mvit2_search.errors import StorageError, StudyConflict, TrainingError, first_line
from mvit2_search.models import build_model
from mvit2_search.records import EpochRow, TeacherInputs, TrainingInputs, TrainingState
from mvit2_search.records.codec import to_json
from mvit2_search.system.files import acquire, check_supported
from mvit2_search.system.signals import Terminated
from mvit2_search.task.data.load import check_faults
from mvit2_search.train.checkpoint import (
    AVERAGED,
    BEST,
    LAST,
    Tensors,
    newest_checkpoint,
    remove_unfinished,
    write_checkpoint,
)
from mvit2_search.train.job import TrainingJob
from mvit2_search.train.loader import Steps, batches
from mvit2_search.train.loop import Trainer, evaluate, settle_statistics
from mvit2_search.train.plan import Plan
from mvit2_search.train.saved import optimizer_tensors, restore, saved_state, trainer_tensors
from mvit2_search.train.taught import KeptOutputs, TaughtLessons, kept_outputs

_LOCK = "training.lock"
_TORCHRUN_S = 10.0  # in which torchrun ends all processes after one
_SAVE_EVERY_S, _SAVE_BEFORE_TEST_S = 600.0, 60.0  # since it was saved last


class TrainingListener(Protocol):
    """What a full training tells of itself."""

    def started(self, plan: Plan, state: TrainingState) -> None:
        """Before the first step of this process; `state` is what it goes on from."""

    def stepped(self, done: int, plan: Plan) -> None:
        """After each step."""

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        """After an epoch has been tested and saved."""

    def warned(self, text: str) -> None:
        """Something a user should know."""


def train_fully(
    job: TrainingJob,
    *,
    listener: TrainingListener,
    check_interrupt: Callable[[], None] = lambda: None,
    make_trainer: "MakeTrainer | None" = None,
) -> TrainingState:
    """Train in the job's folder, or go on with the training there; its state at the end.

    Args:
        check_interrupt: called between steps. If it raises, the training is saved where it is.
        make_trainer: makes what trains, before its first step; by default `new_trainer`.

    Raises:
        StudyConflict: another process trains there, or the folder has a training with other inputs.
        StorageError: none of its checkpoints is whole, or the disk takes no more.
        TrainingError: the loss or the outputs are not finite, or torch cannot compute them.
    """
    with _held(job.folder) if job.execution.ranks.is_first else nullcontext():
        try:
            run = _Run(job, listener, make_trainer or new_trainer)
            run.to_the_end(check_interrupt)
        except RuntimeError as err:  # torch's own, out of memory among them
            if job.execution.ranks.world > 1:
                _wait_for_torchrun(check_interrupt)
            raise TrainingError(f"{type(err).__name__}: {first_line(err)}") from err
    return run.state


def _wait_for_torchrun(check_interrupt: Callable[[], None]) -> None:
    """Some seconds, in which it ends this process if what went wrong is that another one has gone."""
    until = time.monotonic() + _TORCHRUN_S
    while time.monotonic() < until:
        check_interrupt()
        time.sleep(0.1)


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Nobody else trains there meanwhile."""
    check_supported()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / _LOCK).open("w")
    except OSError as err:
        raise StorageError(f"{folder}: cannot write: {err.strerror}; give another `out`") from err
    with lock:
        if not acquire(lock.fileno()):
            raise StudyConflict(f"{folder}: another process trains there; wait for it, or give another `out`")
        remove_unfinished(folder)
        yield


class _Run:
    def __init__(self, job: TrainingJob, listener: TrainingListener, make_trainer: "MakeTrainer") -> None:
        self.plan, self._data, self._folder, self._execution = job.plan, job.data, job.folder, job.execution
        self._listener, self._ranks = listener, job.execution.ranks
        self._trainer = make_trainer(job, job_outputs(job, listener.warned))
        self.state = TrainingState(inputs=job.inputs)
        ranks, seed = job.execution.ranks, job.inputs.seed
        self._steps = Steps(job.data.train, job.plan.recipe, seed=seed, rank=ranks.rank, world=ranks.world)
        self._faults = {*job.data.train.faults, *job.data.test.faults}  # told already
        self._losses: list[Tensor] = []  # of the steps of an epoch that is not tested yet
        self._began = self._saved = time.monotonic()
        self._go_on()

    def _go_on(self) -> None:
        """From the newest whole checkpoint. A new training is saved at once, which shows that it can be."""
        found = newest_checkpoint(self._folder) if self._ranks.is_first else (None, [])
        path, faults = self._ranks.gathered(found)[0]
        if path is not None:
            saved = saved_state(path)
            _refuse_other_inputs(self._folder, saved.inputs, self.state.inputs)
            for fault in faults:
                self._listener.warned(f"{fault}; going on from {path}")
            self.state = saved
            restore(self._trainer, path, saved)
            self._losses = [torch.tensor(loss, device=self._execution.device) for loss in saved.losses]
        elif faults:
            raise StorageError(f"{'; '.join(faults)}; give another `out`, or remove the folder to start anew")
        else:
            self._save()

    def to_the_end(self, check_interrupt: Callable[[], None]) -> None:
        self._listener.started(self.plan, self.state)
        plan, trainer = self.plan, self._trainer
        loaded = batches(self._steps, trainer.done, plan.steps, workers=self._execution.workers)
        while trainer.done < plan.steps or self._losses:
            self._check(check_interrupt)
            if len(self._losses) == plan.steps_per_epoch:
                self._end_epoch()
                continue
            self._losses.append(trainer.step(next(loaded)))
            if self._ranks.world == 1:
                self._tell_faults()
            self._listener.stepped(trainer.done, plan)

    def _tell_faults(self) -> None:
        """Files that the processes found not to open; raises DataError in all of them if they are too many."""
        mine = {**self._data.train.faults, **self._data.test.faults, **self._steps.faults}
        faults = {path: why for some in self._ranks.gathered(mine) for path, why in some.items()}
        if new := faults.keys() - self._faults:
            check_faults(self._data.name, faults, len(self._data.train) + len(self._data.test))
            for path in new:
                self._listener.warned(f"{path}: does not open and is skipped: {faults[path]}")
            self._faults |= new

    def _check(self, check_interrupt: Callable[[], None]) -> None:
        """Save the training where it is time to, and end it where this or another process is told to end."""
        told: BaseException | None = None
        try:
            check_interrupt()
        except BaseException as err:
            told = err
        limit = _SAVE_EVERY_S if len(self._losses) < self.plan.steps_per_epoch else _SAVE_BEFORE_TEST_S
        marks = self._ranks.gathered((told is not None, time.monotonic() - self._saved > limit))
        is_told, is_time = any(mark[0] for mark in marks), marks[0][1]
        if is_told or is_time:
            self._save()
        if is_told:
            try:
                raise told or Terminated
            finally:
                del told  # it would keep this frame, and with it the workers, alive

    def _end_epoch(self) -> None:
        trainer, recipe, device = self._trainer, self.plan.recipe, self._execution.device
        loss, averaged = fmean(self._finite_losses()), trainer.averaged_model
        if recipe.settle:
            settle_statistics(averaged, self._data.train, device=device, size=recipe.image_size)
        self._ranks.share(averaged.buffers())  # each process has batch statistics of its own
        reached = evaluate(
            averaged, self._data.test, self._data.task, device=device, size=recipe.image_size, ranks=self._ranks
        )
        self._tell_faults()
        row = EpochRow(
            epoch=self._epoch,
            learning_rate=self.plan.rate(trainer.done - 1),
            loss=loss,
            score=reached.score,
            seconds=round(self.state.seconds + time.monotonic() - self._began, 3),
        )
        self._losses, self._began = [], time.monotonic()
        self.state = replace(self.state, done=trainer.done, rows=(*self.state.rows, row), losses=(), seconds=0.0)
        if self.state.best == row:
            self._write(BEST, {AVERAGED: averaged.state_dict()})
        self._save()
        self._listener.epoch_ended(row, self.state.rows)

    @property
    def _epoch(self) -> int:
        """Of the last step, from 1."""
        return -(-self._trainer.done // self.plan.steps_per_epoch)

    def _finite_losses(self) -> tuple[float, ...]:
        losses = self._ranks.means([loss.item() for loss in self._losses])
        if not all(map(math.isfinite, losses)):
            raise TrainingError(f"the loss is not finite in epoch {self._epoch}; try a lower `learning_rate`")
        return losses

    def _save(self) -> None:
        trainer, now = self._trainer, time.monotonic()
        self.state = replace(
            self.state,
            done=trainer.done,
            averaged=trainer.averaged.steps,
            losses=self._finite_losses(),
            scaler=trainer.scaler.state_dict(),
            seconds=self.state.seconds + now - self._began,
        )
        self._write(LAST, trainer_tensors(trainer))
        self._began = now
        self._saved = time.monotonic()

    def _write(self, name: str, tensors: Mapping[str, Tensors]) -> None:
        if self._ranks.is_first:
            write_checkpoint(self._folder / name, tensors, to_json(self.state))


def job_outputs(job: TrainingJob, warn: Callable[[str], None]) -> KeptOutputs | None:
    """Where what the job's teacher says is kept, if it has one."""
    if job.teacher is None:
        return None
    return kept_outputs(
        job.teacher,
        job.inputs.recipe,
        seed=job.inputs.seed,
        data=job.inputs.data,
        execution=job.execution,
        results=job.results,
        warn=warn,
    )


def _lessons(job: TrainingJob, kept: KeptOutputs | None) -> TaughtLessons | None:
    """What the job's network learns from its teacher, if it has one."""
    if job.teacher is None or job.inputs.teacher is None:
        return None
    return TaughtLessons(job.teacher, job.inputs.teacher, execution=job.execution, kept=kept)


MakeTrainer = Callable[[TrainingJob, KeptOutputs | None], Trainer]


def new_trainer(job: TrainingJob, kept: KeptOutputs | None) -> Trainer:
    """Before its first step. What its teacher says is kept in `kept`."""
    torch.manual_seed(job.inputs.seed)
    model = build_model(job.inputs.arch, job.data.task.head)
    if job.weights is not None:
        model.load_state_dict(dict(job.weights), strict=False)
    return Trainer(
        model,
        job.plan,
        task=job.data.task,
        execution=job.execution,
        seed=job.inputs.seed,
        lessons=_lessons(job, kept),
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """What a training takes.

    Attributes:
        step_s: median time of `steps` steps.
        batch_s: median time in which this process alone prepared their batches; files were decoded for them.
        disk_bytes: of its checkpoints.
    """

    step_s: float
    batch_s: float
    steps: int
    disk_bytes: int


def measured_cost(job: TrainingJob, steps: int = 5) -> Cost:
    """Train for some steps, of which the first two do not count, and forget them."""
    trainer = new_trainer(job, kept=None)
    loaded = batches(Steps(job.data.train, job.plan.recipe, seed=job.inputs.seed), 0, steps + 2)
    step_s, batch_s = [], []
    for _ in range(steps + 2):
        began = time.perf_counter()
        batch = next(loaded)
        prepared = time.perf_counter()
        trainer.step(batch).item()  # waits for the device
        batch_s.append(prepared - began)
        step_s.append(time.perf_counter() - prepared)
    weights, kept = (
        sum(tensor.nbytes for tensor in tensors.values())
        for tensors in (trainer.model.state_dict(), optimizer_tensors(trainer.optimizer))
    )
    whole = 2 * weights + kept  # of the last, of the one before and, while it is written, of a third
    return Cost(
        step_s=median(step_s[2:]), batch_s=median(batch_s[2:]), steps=steps, disk_bytes=3 * whole + weights
    )


def _refuse_other_inputs(folder: Path, saved: TrainingInputs, asked: TrainingInputs) -> None:
    if saved == asked:
        return
    if saved.data != asked.data and saved.classes == asked.classes:
        raise StudyConflict(
            f"{folder}: this training was started with other images: restore them, or give another `out`"
        )
    was, now = map(_told, (saved, asked))
    name = next(name for name in was if was[name] != now[name])
    raise StudyConflict(
        f"{folder}: this training was started with other inputs: `{name}`: was {was[name]}, now "
        f"{now[name]}; repeat its command to go on, or give another `out`"
    )


def _told_of_teacher(asked: TeacherInputs | None) -> dict[str, Any]:
    names = ("teacher", "teacher_temperature", "teacher_weight")
    values = (None,) * 3 if asked is None else (asked.weights, asked.temperature, asked.weight)
    return dict(zip(names, values, strict=True))


def _told(inputs: TrainingInputs) -> dict[str, Any]:
    """What the inputs are, for people, by the names of options and then of the others."""
    classes = f"{len(inputs.classes)} ({', '.join(inputs.classes)[:200]})"
    return {
        **to_json(inputs.recipe),
        "seed": inputs.seed,
        "init": inputs.init,
        **_told_of_teacher(inputs.teacher),
        "arch": inputs.arch.key,
        "classes": classes,
        "data": inputs.data,
    }
