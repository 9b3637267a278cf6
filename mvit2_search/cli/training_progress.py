"""Progress of a full training: a bar on a terminal, a line for each epoch everywhere; and its files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from mvit2_search.cli.output import explain
from mvit2_search.cli.progress import QuietConsole
from mvit2_search.records import EpochRow, TrainingState
from mvit2_search.report.events import TensorBoardEvents
from mvit2_search.report.training import write_training_files
from mvit2_search.system.text import counted, printable
from mvit2_search.train.job import TrainingJob
from mvit2_search.train.plan import Plan


class Silent:
    """A `TrainingListener` that says nothing: of all processes but the first."""

    def started(self, plan: Plan, state: TrainingState) -> None:
        pass

    def stepped(self, done: int, plan: Plan) -> None:
        pass

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        pass

    def warned(self, text: str) -> None:
        pass


class TrainingProgress:
    """A `TrainingListener`."""

    def __init__(self, what: str, job: TrainingJob) -> None:
        self._what, self._job, self._events = what, job, TensorBoardEvents(job.folder)
        console = QuietConsole(highlight=False, soft_wrap=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        self._bar = Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
        self._task = self._bar.add_task("steps", total=job.plan.steps)

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def started(self, plan: Plan, state: TrainingState) -> None:
        data, epochs = self._job.data, counted(plan.recipe.epochs, "epoch")
        images = f"{len(data.train):,} training and {len(data.test):,} test images of {len(data.classes)} classes"
        self._print(f"Training {self._what} on {data.name}: {images}, {epochs}")
        if state.done:
            self._print(f"Going on after step {state.done:,} of {plan.steps:,}")
        if state.rows:  # it may have been killed before they were written
            self._write_files(state.rows)
        self._bar.update(self._task, completed=state.done)

    def stepped(self, done: int, plan: Plan) -> None:
        self._bar.update(self._task, completed=done)

    def epoch_ended(self, row: EpochRow, rows: Sequence[EpochRow]) -> None:
        epochs, short = self._job.plan.recipe.epochs, self._job.data.task.metric.short
        self._print(
            f"epoch {row.epoch} of {epochs}: loss {row.loss:.4f}, {short} {row.score:.2f} %, {row.seconds:.1f} s"
        )
        self._write_files(rows)

    def warned(self, text: str) -> None:
        explain(f"warning: {text}", err=True)

    def _write_files(self, rows: Sequence[EpochRow]) -> None:
        write_training_files(self._job.folder, self._what, rows, self._job.data.task.metric.short)
        self._events.write(rows)

    def _print(self, text: str) -> None:
        self._bar.console.print(printable(text), markup=False)
