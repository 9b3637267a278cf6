"""Constructed stand-ins for what coremltools gives on a Mac; no Mac made any number in here.

They have the members that `measure.devices.coreml.worker` names and behave as coremltools 9.0's sources say:
`models/model.py` for models (a network that does not load gives a RuntimeWarning and a model without a
framework object behind it), `coremlpython/CoreMLPython.mm` for the durations and the compiled copy, whose
name begins with the package's, and `models/compute_plan.py` for plans.

Run as a script, it is a worker: `python coreml_stand_in.py MODE FOLDER`. Each MODE leaves files behind, as
a killed process does: in TMPDIR, in the home folder, and in MVIT2_TEST_SYSTEM_TMP, which stands for the
system's own temporary folder.
"""

import fcntl
import os
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace

from mvit2_search.measure.devices.coreml.worker import work


class MLCPUComputeDevice:
    pass


class MLGPUComputeDevice:
    pass


class MLNeuralEngineComputeDevice:
    pass


CPU, GPU, NE = MLCPUComputeDevice(), MLGPUComputeDevice(), MLNeuralEngineComputeDevice()


@dataclass
class ConstructedModel:
    """The i-th prediction takes `first_ns + i` nanoseconds."""

    path: str
    units: str
    first_ns: int | None = 2_000_000
    loads: bool = True
    refuses: Exception | None = None
    load_duration_in_nano_seconds: int | None = 250_000_000
    given: list = field(default_factory=list)

    def get_compiled_model_path(self):
        if not self.loads:
            raise Exception("This model was not loaded or compiled with the Core ML Framework.")
        return f"{self.path}c"

    def predict(self, data):
        if self.refuses is not None:
            raise self.refuses
        self.given.append(dict(data))
        return {"logits": None}

    @property
    def last_predict_duration_in_nano_seconds(self):
        return None if self.first_ns is None else self.first_ns + len(self.given)


def operation(device=None, blocks=()):
    """`device` None: the plan has no usage for it, as for a constant."""
    return SimpleNamespace(device=device, blocks=list(blocks))


def block(*operations):
    return SimpleNamespace(operations=list(operations))


class ConstructedPlan:
    def __init__(self, *blocks):
        functions = {f"f{i}": SimpleNamespace(block=one) for i, one in enumerate(blocks)}
        self.model_structure = SimpleNamespace(program=SimpleNamespace(functions=functions) if blocks else None)

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        return operation.device and SimpleNamespace(preferred_compute_device=operation.device)


def plan_of_four(compiled_path, units):
    """Three operators for the Neural Engine, one for the CPU and two constants."""
    return ConstructedPlan(
        block(operation(), operation(NE), operation(NE), operation(CPU), operation(), operation(NE))
    )


def no_plan(compiled_path, units):
    """What `CoreMLPython.mm` does before macOS 14.4."""
    raise RuntimeError("MLComputePlan is only available on macOS >= 14.4")


def warning_load(path, units):
    """What `MLModel.__init__` does where Core ML refuses a network."""
    message = 'Underlying exception message was: Error compiling model: "no such operator".'
    warnings.warn(message, RuntimeWarning, stacklevel=2)
    return ConstructedModel(path, units, loads=False)


def _leave_files(path):
    """What Core ML would: the compiled network, and what it keeps for the Neural Engine."""
    name = f"{Path(path).stem}_0A1B-2C3D.mlmodelc"
    cache = "Library/Caches/python/com.apple.e5rt.e5bundlecache/24E263"
    for folder in (
        Path(os.environ["TMPDIR"]) / name,
        Path(os.environ["CFFIXED_USER_HOME"]) / cache / name,
        Path(os.environ["MVIT2_TEST_SYSTEM_TMP"]) / name,
        Path(os.environ["MVIT2_TEST_SYSTEM_TMP"]) / "TemporaryItems/NSIRD_python_1" / name,
    ):
        folder.mkdir(parents=True)
        (folder / "weights").write_bytes(b"0" * 1000)


def _hang():
    """With a child, which holds the same lock: it is free once both are dead."""
    lock = Path(os.environ["MVIT2_TEST_LOCK"]).open("w")  # noqa: SIM115
    fcntl.flock(lock, fcntl.LOCK_EX)
    subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], pass_fds=[lock.fileno()])
    lock.write("held")
    lock.flush()
    time.sleep(600)


def _crash():
    print("a first line\nlibc++abi: terminating due to uncaught exception\n\n", file=sys.stderr, flush=True)
    os._exit(3)


def _kill():
    print("[espresso] out of memory", file=sys.stderr, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)


def _load(mode):
    def load(path, units):
        _leave_files(path)
        {"crash": _crash, "kill": _kill, "hang": _hang}.get(mode, lambda: None)()
        return warning_load(path, units) if mode == "refused" else ConstructedModel(path, units)

    return load


if __name__ == "__main__":
    mode, folder = sys.argv[1], Path(sys.argv[2])
    work(folder, _load(mode), plan_of_four)
    answer = folder / "answer.json"
    if mode == "garbage":
        print("what a library says", file=sys.stderr)
        answer.write_text("Loading...\n{}")
    if mode == "other":
        answer.write_text(answer.read_text().replace("sha-of-c", "sha-of-x"))
    if mode == "none":
        answer.unlink()
