"""A Mac, by Core ML. Everything that decides anything runs anywhere; see `coreml_visit`."""

import importlib.util
import platform
from importlib.metadata import version
from pathlib import Path
from time import sleep

from mvit2_search.errors import BackendUnavailable, MeasurementError
from mvit2_search.latency.coreml_visit import visit
from mvit2_search.latency.machine import passport_here
from mvit2_search.latency.protocol import TimingPlan
from mvit2_search.records import Artifact, Passport, Samples

COMPUTE_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ne": "CPU_AND_NE"}


class CoreMLDevice:
    """Half precision, batch 1, on the compute units that `units`, a key of `COMPUTE_UNITS`, allows."""

    format = "mlpackage"
    pause = staticmethod(sleep)

    def __init__(self, units: str) -> None:
        self._units = COMPUTE_UNITS[units]

    def check(self) -> None:
        if platform.system() != "Darwin":
            raise BackendUnavailable(
                "coreml: Core ML runs models only on macOS; use --device host here, which times ONNX Runtime"
            )
        found = importlib.util.find_spec("coremltools")
        if found is None or found.origin is None:
            raise BackendUnavailable("coreml: coremltools is missing: pip install coremltools")
        if not Path(found.origin).with_name("libcoremlpython.so").is_file():  # as in its source distribution
            raise BackendUnavailable(
                "coreml: this coremltools cannot reach Core ML: pip install --force-reinstall "
                "--only-binary=coremltools coremltools (in a Python that it has macOS wheels for, such as 3.11)"
            )

    def passport(self) -> Passport:
        return passport_here(
            device="Core ML on this Mac",
            runtime=f"coremltools {version('coremltools')}",
            compute_units=self._units,
            precision="float16",
            threads=0,
        )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self.check()
        if {candidate.precision, reference.precision} != {"float16"}:
            raise MeasurementError("coreml: half precision is timed; this package is in single precision")
        return visit(candidate, reference, plan, units=self._units)
