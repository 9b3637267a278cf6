"""A Mac, by Core ML, on the compute units that are asked for.

Each visit runs in a process of its own, because Core ML leaves compiled networks behind, each about as large as
its package: in the temporary folder when the process is killed, and for the Neural Engine in `Library/Caches` of
the home folder. The process has both places to itself, and they are removed after it: TMPDIR moves Python's part,
CFFIXED_USER_HOME the caches (Core Foundation reads it before HOME). What the system still writes to its own
temporary folder begins with the package's name, which no other package has. Only the files of `com.apple.aned`, a
service of the system, are out of reach.
"""

import importlib.util
import platform
import shutil
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mvit2_search.errors import BackendUnavailable, MeasurementError, StorageError
from mvit2_search.measure.devices.coreml.process import own_folder, run_worker
from mvit2_search.measure.devices.machine import LocalDevice
from mvit2_search.measure.devices.registry import DeviceAddress
from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.records import Artifact, Samples
from mvit2_search.records.codec import NO_RECORD, from_json

COMPUTE_UNITS = {"all": "ALL", "cpu": "CPU_ONLY", "gpu": "CPU_AND_GPU", "ne": "CPU_AND_NE"}

WORKER = ("-m", "mvit2_search.measure.devices.coreml.worker")
DEADLINE_S = 600.0  # compiling for the Neural Engine takes up to minutes
_ROOM_FOR = 10  # times the packages: copied, compiled, then specialised for each compute device
_LEAST_ROOM = 500_000_000


class CoreMLDevice(LocalDevice):
    """In half precision, on the compute units that the name ends in: a key of `COMPUTE_UNITS`, by default all."""

    format = "mlpackage"
    words = "Core ML on this Mac"
    package = "coremltools"
    precision = "float16"
    threads = 0

    def __init__(self, address: DeviceAddress) -> None:
        super().__init__(address)
        self.compute_units = COMPUTE_UNITS[address.option or "all"]

    def check(self) -> None:
        if platform.system() != "Darwin":
            raise BackendUnavailable(
                f"{self.name}: Core ML runs models only on macOS; use `device` host here, which times ONNX Runtime"
            )
        found = importlib.util.find_spec("coremltools")
        if found is None or found.origin is None:
            raise BackendUnavailable(f"{self.name}: coremltools is missing: pip install coremltools")
        if not Path(found.origin).with_name("libcoremlpython.so").is_file():  # as in its source distribution
            raise BackendUnavailable(
                f"{self.name}: this coremltools cannot reach Core ML: pip install --force-reinstall "
                "--only-binary=coremltools coremltools (in a Python that it has macOS wheels for, such as 3.11)"
            )

    def time(self, candidate: Artifact, reference: Artifact, plan: TimingPlan) -> Samples:
        self.check()
        if {candidate.precision, reference.precision} != {"float16"}:
            raise MeasurementError("coreml: half precision is timed; this package is in single precision")
        return visit(candidate, reference, plan, units=self.compute_units)


def visit(
    candidate: Artifact,
    reference: Artifact,
    plan: TimingPlan,
    *,
    units: str,
    worker: Sequence[str] = WORKER,
    deadline_s: float = DEADLINE_S,
) -> Samples:
    """Time both in a process of their own.

    Args:
        units: the name of a `coremltools.ComputeUnit`.
        worker: arguments of the interpreter; the folder follows.

    Raises:
        MeasurementError: a package does not load or run, or the worker gave no samples of them.
        StorageError: no room for what Core ML compiles.
    """
    if missing := [one.path for one in (candidate, reference) if not one.path.is_dir()]:
        raise MeasurementError(f"{missing[0].name}: Core ML cannot load it: no such package")
    with own_folder(max(_LEAST_ROOM, _ROOM_FOR * (_bytes(candidate.path) + _bytes(reference.path)))) as folder:
        home = folder / "home"
        task = {"units": units, "plan": asdict(plan)}
        try:
            home.mkdir()
            task |= {"candidate": _copied(candidate, folder, "c"), "reference": _copied(reference, folder, "r")}
        except OSError as err:
            raise StorageError(f"{folder}: cannot copy a network there: {err}") from err
        environment = {"TMPDIR": str(folder), "CFFIXED_USER_HOME": str(home)}
        answer = run_worker(worker, folder, task, environment=environment, deadline_s=deadline_s)
    return _samples(answer, [candidate.sha256, reference.sha256], plan)


def _bytes(package: Path) -> int:
    return sum(file.stat().st_size for file in package.rglob("*") if file.is_file())


def _copied(artifact: Artifact, folder: Path, suffix: str) -> dict[str, Any]:
    """The network as a worker needs it; its package gets a name that what Core ML compiles keeps."""
    path = folder / f"{folder.name}-{suffix}.mlpackage"
    shutil.copytree(artifact.path, path)
    return asdict(artifact) | {"name": artifact.path.name, "path": str(path)}


def _samples(answer: Any, asked: list[str], plan: TimingPlan) -> Samples:
    if isinstance(answer, dict) and "error" in answer:
        raise MeasurementError(str(answer["error"]))
    try:
        given, samples = answer["of"], from_json(answer["samples"], Samples)
    except NO_RECORD as err:
        raise MeasurementError(f"Core ML's process gave no samples: {err!r}") from err
    passes = plan.pairs_per_visit * plan.unit
    counts = (samples.unit, len(samples.candidate_ms), len(samples.reference_ms))
    if given != asked or counts != (plan.unit, passes, passes):
        raise MeasurementError("Core ML's process gave samples of something else than it was asked for")
    return samples
