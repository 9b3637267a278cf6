"""Measuring artifacts on one device, each once: results are kept and shared by all studies beside."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from mvit2_search.errors import StorageError
from mvit2_search.files import write_atomically
from mvit2_search.latency.protocol import Device, TimingPlan
from mvit2_search.latency.timing import collect, to_measurement
from mvit2_search.records import Artifact, Measurement, Passport


class Meter:
    """One device, the reference network on it, and the measurements so far.

    Args:
        folder: where measurements of all devices are kept.
        reference: what every candidate is timed against.
        reference_ms: what the reference took when the study began; by default what it took when this
            device was first used. All latencies are multiples of it.
    """

    def __init__(
        self,
        device: Device,
        folder: Path,
        reference: Artifact,
        *,
        reference_ms: float | None = None,
        plan: TimingPlan | None = None,
    ) -> None:
        device.check()
        self.passport: Passport = device.passport()
        self._plan = plan or TimingPlan()
        self._device = device
        self._reference = reference
        self._folder = folder / f"{self.passport.digest}-{reference.sha256[:12]}"
        self.reference_ms = reference_ms or self._first_reference_ms()

    def measure(self, artifact: Artifact) -> Measurement:
        """The latency of `artifact`, from earlier if it has been measured under this passport.

        Raises:
            MeasurementError: it does not run, or the device gave no times.
            BackendUnavailable: the device went away.
        """
        path = self._folder / f"{artifact.sha256}.json"
        if (known := _read(path)) is not None:
            return Measurement.from_json(known["measurement"]).on_scale_of(self.reference_ms)
        samples = collect(self._device, artifact, self._reference, self._plan)
        measurement = to_measurement(
            samples,
            artifact=artifact,
            passport=self.passport.digest,
            reference_ms=self.reference_ms,
            plan=self._plan,
        )
        _write(path, {"measurement": asdict(measurement), "samples": asdict(samples)})
        return measurement

    def _first_reference_ms(self) -> float:
        path = self._folder / "reference.json"
        if (known := _read(path)) is None:
            samples = collect(self._device, self._reference, self._reference, self._plan)
            median = float(np.median(samples.candidate_ms + samples.reference_ms))
            known = {"reference_ms": median, "passport": asdict(self.passport), "samples": asdict(samples)}
            _write(path, known)
        return float(known["reference_ms"])


def _read(path: Path) -> Any:
    """The JSON in `path`, or None where there is no such file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as err:
        raise StorageError(f"{path}: cannot be read ({err}); delete it to measure again") from err


def _write(path: Path, data: Any) -> None:
    write_atomically(path, json.dumps(data, indent=1))
