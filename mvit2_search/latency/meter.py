"""Measuring artifacts on one device, each once: results are kept and shared by all studies beside."""

import json
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TypeVar

from mvit2_search.errors import StorageError
from mvit2_search.files import write_atomically
from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.latency.reference import KnownReference, first_reference
from mvit2_search.latency.timing import collect, to_measurement
from mvit2_search.latency.visits import counted, reference_ms, speed
from mvit2_search.records import Artifact, Measurement, Passport

_Parsed = TypeVar("_Parsed")


class Meter:
    """One device, the reference network on it, and the measurements so far.

    Args:
        folder: where measurements of all devices are kept.
        reference: what every candidate is timed against.
        scale_ms: what the reference took when the study began; by default what it is known to take. All
            latencies that are returned are multiples of it.
    """

    def __init__(
        self,
        device: Device,
        folder: Path,
        reference: Artifact,
        *,
        scale_ms: float | None = None,
        plan: TimingPlan | None = None,
    ) -> None:
        device.check()
        self.passport: Passport = device.passport()
        self._device = device
        self._reference = reference
        self.folder = folder / f"{self.passport.digest}-{reference.sha256[:12]}"
        self.known = self._known(plan or TimingPlan())
        self._plan = replace(plan or TimingPlan(), unit=self.known.unit)
        self._scale_ms = scale_ms

    @property
    def reference_ms(self) -> float:
        """The scale of the latencies that are returned."""
        return self._scale_ms or self.known.reference_ms

    def path(self, sha256: str) -> Path:
        """Where the measurement of that artifact and all its samples are, or will be."""
        return self.folder / f"{sha256}.json"

    def earlier(self, artifact: Artifact) -> Measurement | None:
        """What was measured before, if there is nothing wrong with it: else it is to be measured again."""
        measurement = _read(self.path(artifact.sha256), lambda saved: Measurement.from_json(saved["measurement"]))
        if measurement is None or measurement.flags or self.known.is_slow(measurement.reference_now_ms):
            return None
        return self._scaled(measurement)

    def measure(self, artifact: Artifact, *, about: dict[str, Any] | None = None) -> Measurement:
        """Measure `artifact` now, and keep it instead of what was measured before, unless that alone was sound.

        Args:
            about: kept beside the measurement, as JSON.

        Raises:
            MeasurementError: it does not run, or the device gave no times.
            BackendUnavailable: the device went away.
        """
        visits = collect(self._device, artifact, self._reference, self._plan, known=self.known)
        used = counted(visits, self._plan, self.known.reference_ms)
        if all(speed(reference_ms(visit), self.known.reference_ms) == "fast" for visit in used):
            self._learn(reference_ms(*used))
        measurement = to_measurement(
            visits,
            artifact=artifact,
            passport=self.passport.digest,
            known=self.known,
            plan=self._plan,
        )
        if not measurement.flags or self.earlier(artifact) is None:
            samples = [asdict(visit) for visit in visits]
            saved = {"measurement": asdict(measurement), "about": about, "visits": samples}
            _write(self.path(artifact.sha256), saved)
        return self._scaled(measurement)

    def _scaled(self, measurement: Measurement) -> Measurement:
        """On the scale asked for; flagged where that was set while the device was slower than it can be."""
        scaled = measurement.on_scale_of(self.reference_ms)
        if speed(self.known.reference_ms, self.reference_ms) == "fast":
            return replace(scaled, flags=tuple(sorted({*scaled.flags, "fast"})))
        return scaled

    def _known(self, plan: TimingPlan) -> KnownReference:
        path = self.folder / "reference.json"
        if (saved := _read(path, lambda saved: KnownReference.from_json(saved["known"]))) is not None:
            return saved
        known, visits = first_reference(self._device, self._reference, plan)
        _write(
            path,
            {
                "known": asdict(known),
                "passport": asdict(self.passport),
                "visits": [asdict(visit) for visit in visits],
            },
        )
        return known

    def _learn(self, faster_ms: float) -> None:
        """The machine was slow when the reference was first timed: what it takes is less."""
        path = self.folder / "reference.json"
        self.known = replace(self.known, reference_ms=faster_ms)
        saved = _read(path, dict)
        _write(path, (saved or {}) | {"known": asdict(self.known)})


def _read(path: Path, parse: Callable[[Any], _Parsed]) -> _Parsed | None:
    """What `parse` makes of the JSON in `path`; None where there is no such file."""
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err


def _write(path: Path, data: Any) -> None:
    write_atomically(path, json.dumps(data, indent=1))
