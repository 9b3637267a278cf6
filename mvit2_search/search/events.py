"""What a search tells whoever watches it."""

from typing import Protocol

from mvit2_search.arch import ArchConfig
from mvit2_search.records import Score, Trial
from mvit2_search.search.request import Request
from mvit2_search.store import Study


class Listener(Protocol):
    """Every method is called from the thread that searches and may take its time."""

    def phase(self, name: str) -> None:
        """What the search does from now on, such as `loading images` or `confirming`."""

    def opened(self, study: Study, request: Request) -> None:
        """The study holds its inputs and its budget; called once, before the first trial."""

    def note(self, text: str) -> None:
        """One thing the user should know."""

    def started(self, number: int, arch: ArchConfig, baseline: str | None) -> None:
        """An architecture's turn: a trial, or a finalist of the confirmation."""

    def working(self, text: str) -> None:
        """What is being done right now; comes often."""

    def trial_ended(self, study: Study, trial: Trial) -> None:
        """A trial has its outcome, and it is on disk."""

    def scored(self, study: Study, score: Score, name: str) -> None:
        """A training of the confirmation ended; `name` is for people."""


class Silent:
    """A listener that does nothing."""

    def phase(self, name: str) -> None: ...

    def opened(self, study: Study, request: Request) -> None: ...

    def note(self, text: str) -> None: ...

    def started(self, number: int, arch: ArchConfig, baseline: str | None) -> None: ...

    def working(self, text: str) -> None: ...

    def trial_ended(self, study: Study, trial: Trial) -> None: ...

    def scored(self, study: Study, score: Score, name: str) -> None: ...
