"""Progress of a search: a live line on a terminal, one line per trial everywhere."""

from time import monotonic

from rich.console import Console

from mvit2_search.api import refresh
from mvit2_search.arch import ArchConfig
from mvit2_search.records import Failed, Finished, Infeasible, Outcome, Score, Stopped, Trial
from mvit2_search.search import Request
from mvit2_search.store import Study

_REFRESH_SECONDS = 60


class Progress:
    """Prints what a search tells, and keeps the derived files at most a minute behind."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._status = self._console.status("starting")
        self._what = ""
        self._refreshed = 0.0

    def __enter__(self) -> "Progress":
        if self._console.is_terminal:
            self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._status.stop()

    def stopping(self) -> None:
        """Ctrl-C came for the first time."""
        self._print("Stopping after the running trial; press Ctrl-C again to stop now.")

    def note(self, text: str) -> None:
        self._print(f"note: {text}")

    def opened(self, study: Study, request: Request) -> None:
        self._print(f"Study {study.name} in {study.folder}: {request.trials} candidates to train")
        self._print(
            f"Budget {request.latency_budget}: {study.fact('budget_ms'):.2f} ms on {study.passport.device}"
        )
        self._refresh(study)

    def started(self, number: int, arch: ArchConfig, baseline: str | None) -> None:
        self._what = baseline or f"trial {number}"
        self.working("starting")

    def working(self, text: str) -> None:
        self._status.update(f"{self._what}: {text}")

    def trial_ended(self, study: Study, trial: Trial) -> None:
        number = f"trial {trial.number:<3}" if trial.number >= 0 else "no trial "
        name = trial.baseline or trial.arch.key
        repeats = f" (repeats trial {trial.repeats})" if trial.repeats is not None else ""
        self._print(f"{number} {name:<16} {_outcome(trial.outcome)}{repeats}  {trial.seconds:.0f} s")
        if monotonic() - self._refreshed > _REFRESH_SECONDS:
            self._refresh(study)

    def scored(self, study: Study, score: Score, name: str) -> None:
        failed = isinstance(score.result, Failed)
        text = f"failed: {score.result.message}" if isinstance(score.result, Failed) else f"{score.result:.2f} %"
        self._print(f"confirm   {name:<16} {text}" + ("" if failed else f" on unseen images, seed {score.seed}"))

    def _refresh(self, study: Study) -> None:
        refresh(study)
        self._refreshed = monotonic()

    def _print(self, text: str) -> None:
        self._console.print(text, markup=False)


def _outcome(outcome: Outcome) -> str:
    match outcome:
        case Finished(accuracy_pct=accuracy, measurement=measured):
            return f"{accuracy:6.2f} %  {measured}"
        case Infeasible(measurement=measured):
            return f"over      {measured}"
        case Stopped(curve_pct=curve, measurement=measured):
            return f"stopped   {measured} after {len(curve)} epochs"
        case Failed(reason=reason, message=message):
            return f"failed ({reason}): {message}"
