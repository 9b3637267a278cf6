"""Measuring artifacts on one device, one at a time on this computer and each once.

One timing at a time on this computer.

Every device that there is so far runs on it, and any two of them disturb each other: they share one lock, across
studies, commands, folders of results and users. A device elsewhere would have one of its own.

Measuring artifacts on one device, each once: results are kept and shared by all studies beside.
"""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from tempfile import gettempdir

from mvit2_search.errors import MeasurementError
from mvit2_search.measure.protocol import Device, TimingPlan
from mvit2_search.measure.reference import first_reference
from mvit2_search.measure.statistics import counted, reference_ms, speed
from mvit2_search.measure.visits import collect, to_measurement
from mvit2_search.records import About, Artifact, Kept, Measurement, Passport, latency_fault, time_fault
from mvit2_search.records.kept import KnownReference
from mvit2_search.store.measurements import Measurements
from mvit2_search.system.locks import Holder, locked

Tell = Callable[[str], None]


def lock_path() -> Path:
    """In the temporary folder that all users share, whatever TMPDIR says; in the own one where that is closed."""
    shared = Path("/tmp")
    return (shared if os.access(shared, os.W_OK) else Path(gettempdir())) / "mvit2-search-timing.lock"


class Queue:
    """Where a process waits until it may time.

    Args:
        tell: told whom it waits for, once for each.
        pause: waits for so many seconds; what it raises ends the waiting.
    """

    def __init__(self, tell: Tell, pause: Callable[[float], None]) -> None:
        self._tell, self._pause = tell, pause
        self._told: set[int | None] = set()

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Nobody else times anything on this computer meanwhile."""
        with locked(lock_path(), on_wait=self._waits, pause=self._pause):
            yield

    def _waits(self, holder: Holder | None) -> None:
        pid = None if holder is None else holder.pid
        if pid not in self._told:
            self._told.add(pid)
            self._tell(f"waiting for {holder or 'another process'}, which times a network on this computer")


class Meter:
    """One device, the reference network on it, and the measurements so far.

    Whatever it times, nobody else on this computer times anything meanwhile; what others have measured and
    learned while it waited for that is read again.

    Args:
        folder: where measurements of all devices are kept.
        reference: what every candidate is timed against.
        scale_ms: what the reference took when the study began; by default what it is known to take now. All
            latencies that are returned are multiples of it, whatever is learned of the device later.
        tell: told whom it waits for.
    """

    def __init__(
        self,
        device: Device,
        folder: Path,
        reference: Artifact,
        *,
        scale_ms: float | None = None,
        plan: TimingPlan | None = None,
        tell: Tell = lambda text: None,
    ) -> None:
        device.check()
        self.passport: Passport = device.passport()
        self._device = device
        self._reference = reference
        self.kept = Measurements(folder / f"{self.passport.digest}-{reference.sha256[:12]}")
        self._plan = plan or TimingPlan()
        self._queue = Queue(tell, device.pause)
        self.known = self._known()
        self.reference_ms = scale_ms or self.known.reference_ms

    def path(self, sha256: str) -> Path:
        """Where the measurement of that artifact and all its samples are, or will be."""
        return self.kept.path(sha256)

    def earlier(self, artifact: Artifact) -> Measurement | None:
        """What was measured before, if there is nothing wrong with it: else it is to be measured again."""
        self.known = self.kept.reference() or self.known
        kept = self.kept.get(artifact.sha256)
        if kept is None or kept.measurement.flags or self._is_slow(kept.measurement):
            return None
        return self._scaled(kept.measurement)

    def measure(self, artifact: Artifact, *, about: About | None = None, again: bool = True) -> Measurement:
        """Measure `artifact`, and keep it instead of what was measured before, unless that alone was sound.

        Args:
            about: what it is, kept beside the measurement.
            again: also if there is a sound one by now, of another process.

        Raises:
            MeasurementError: it does not run, or the device gave no times that a network can take.
            BackendUnavailable: the device went away.
        """
        with self._queue.turn():
            self.known = self._known_now()
            if not again and (earlier := self.earlier(artifact)) is not None:
                return earlier
            return self._measured(artifact, about)

    def _measured(self, artifact: Artifact, about: About | None) -> Measurement:
        plan = replace(self._plan, unit=self.known.unit)
        visits = collect(self._device, artifact, self._reference, plan, known=self.known)
        used = counted(visits, plan, self.known.reference_ms)
        if all(speed(reference_ms(visit), self.known.reference_ms) == "fast" for visit in used):
            self.known = replace(self.known, reference_ms=reference_ms(*used))
            self.kept.correct_reference(self.known)
        measurement = to_measurement(
            visits,
            artifact=artifact,
            passport=self.passport.digest,
            known=self.known,
            plan=plan,
        )
        if fault := latency_fault(measurement):
            raise MeasurementError(fault)
        if not measurement.flags or self.earlier(artifact) is None:
            self.kept.put(Kept(measurement=measurement, about=about, visits=tuple(visits)))
        return self._scaled(measurement)

    def _is_slow(self, measurement: Measurement) -> bool:
        """Whether the device was slower than it can be."""
        return speed(measurement.reference_now_ms, self.known.reference_ms) == "slow"

    def _scaled(self, measurement: Measurement) -> Measurement:
        """On the scale asked for; flagged where that was set while the device was slower than it can be."""
        scaled = measurement.on_scale_of(self.reference_ms)
        if speed(self.known.reference_ms, self.reference_ms) == "fast":
            return replace(scaled, flags=tuple(sorted({*scaled.flags, "fast"})))
        return scaled

    def _known(self) -> KnownReference:
        if (known := self.kept.reference()) is not None:
            return known
        with self._queue.turn():
            return self._known_now()

    def _known_now(self) -> KnownReference:
        """What is known of the reference, or is found out now, in this process's turn."""
        if (known := self.kept.reference()) is not None:
            return known
        known, visits = first_reference(self._device, self._reference, self._plan)
        if fault := time_fault(known.reference_ms):
            raise MeasurementError(f"the reference network: {fault}")
        self.kept.put_reference(known, self.passport, visits)
        return known
