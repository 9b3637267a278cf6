"""Progress of a search: a live line on a terminal, one line per trial everywhere."""

import os
import sys
from time import monotonic

from rich.console import Console

from mvit2_search.api import refresh
from mvit2_search.arch import ArchConfig
from mvit2_search.cli.output import with_flags
from mvit2_search.errors import StorageError
from mvit2_search.records import Failed, Finished, Infeasible, Outcome, Score, Stopped, Trial
from mvit2_search.search.events import Listener
from mvit2_search.search.request import Request
from mvit2_search.store import Study
from mvit2_search.system.text import counted, printable

_REFRESH_SECONDS, _REFRESH_SHARE = 60, 0.01  # at most so often, and so much of the time
_CLASSES_SHOWN = 10


class QuietConsole(Console):
    """Stops printing when the reader of the output has left; the search continues."""

    def on_broken_pipe(self) -> None:
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class Progress(Listener):
    """Prints the events of a search, and keeps the derived files about a minute behind."""

    def __init__(self, *, to_stderr: bool = False) -> None:
        self._console = QuietConsole(highlight=False, soft_wrap=True, stderr=to_stderr)
        self._status = self._console.status("starting")
        self._what = ""
        self._next_refresh = 0.0

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def note(self, text: str) -> None:
        self._print(f"note: {with_flags(text)}")

    def opened(self, study: Study, request: Request) -> None:
        data, passport = study.inputs.data, study.device.passport
        classes = ", ".join(data.classes[:_CLASSES_SHOWN])
        more = ", ..." if len(data.classes) > _CLASSES_SHOWN else ""
        where = f"on {passport.device}" if passport.kind == "measured" else f"predicted for {passport.device}"
        goal = counted(request.trials, "candidate")
        goal += f" and {counted(request.control, 'random network')}" if request.control else ""
        self._print(f"Study {study.name} in {study.folder}: {goal} to train")
        self._print(
            f"Data {data.name}: {data.train:,} training, {data.selection:,} selection and {data.confirmation:,} "
            f"confirmation images of {len(data.classes)} classes: {classes}{more}"
        )
        self._print(f"Budget {request.latency_budget}: {study.limits.latency_ms:.2f} ms {where}")
        self._refresh(study)

    def phase(self, name: str) -> None:
        self._what = name
        self._status.update(name)

    def started(self, name: str, arch: ArchConfig) -> None:
        self._what = name
        self.working("starting")

    def working(self, text: str) -> None:
        self._status.update(f"{self._what}: {text}")

    def trial_ended(self, study: Study, trial: Trial) -> None:
        unnumbered = "width" if trial.published else trial.name
        label = unnumbered if trial.number is None else f"trial {trial.number}"
        name = trial.published or trial.arch.key
        repeats = f" (same network as trial {trial.repeats})" if trial.repeats is not None else ""
        self._print(f"{label:<9} {name:<16} {_outcome(trial.outcome)}{repeats}  {trial.seconds:.0f} s")
        self._refresh(study)

    def scored(self, study: Study, score: Score, name: str) -> None:
        result = score.result
        if isinstance(result, Failed):
            text = f"failed: {result.message}"
        else:
            text = f"{result:.2f} %{_balanced(score)} on unseen images"
        self._print(f"confirm   {name:<16} {text}, seed {score.seed}")
        self._refresh(study)

    def told(self, text: str) -> None:
        self._print(text)

    def _refresh(self, study: Study) -> None:
        start = monotonic()
        if start < self._next_refresh:
            return
        try:
            refresh(study)
        except StorageError as err:  # the trials are safe; a later refresh may succeed
            self.note(str(err))
        self._next_refresh = monotonic() + max(_REFRESH_SECONDS, (monotonic() - start) / _REFRESH_SHARE)

    def _print(self, text: str) -> None:
        self._console.print(printable(text), markup=False)


def _outcome(outcome: Outcome) -> str:
    match outcome:
        case Finished(score=accuracy, latency=measured):
            return f"{accuracy:6.2f} %{_balanced(outcome)}  {measured}"
        case Infeasible(latency=measured):
            return f"over budget  {measured}"
        case Stopped(curve=curve, latency=measured):
            return f"stopped   {measured}, at {curve[-1]:.2f} % after epoch {len(curve)}"
        case Failed(reason=reason, message=message):
            return f"failed ({reason}): {message}"


def _balanced(result: Finished | Score) -> str:
    """The mean over the classes, where they are unbalanced."""
    return "" if result.balanced is None else f" (balanced {result.balanced:.2f} %)"
