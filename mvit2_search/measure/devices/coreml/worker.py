"""One visit with Core ML, in a process of its own: `python -m mvit2_search.measure.devices.coreml.worker FOLDER`.

It reads the task in FOLDER and writes the answer there; what it prints is ignored. The functions that load a
network and a compute plan are arguments, so that all but the calls into Core ML runs anywhere.

The protocols are the parts of coremltools' classes that are used, under their own names. Tests compare each member
with the package, so using anything else is a type error. The classes are described in coremltools'
`models/model.py` and `models/compute_plan.py`.
"""

import json
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from mvit2_search.errors import MeasurementError, first_line
from mvit2_search.measure.devices.coreml.process import ANSWER, TASK, end_with_parent
from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.measure.visits import random_input, take_turns
from mvit2_search.records import Samples


class MLModel(Protocol):
    """A network that Core ML has loaded.

    `predict` changes the dictionary that it is given: half precision becomes single before it is timed.
    The durations are of Core ML's own calls: of loading the compiled network, and of one prediction
    without the conversion of arrays from and to Python.
    """

    @property
    def load_duration_in_nano_seconds(self) -> int | None: ...
    @property
    def last_predict_duration_in_nano_seconds(self) -> int | None: ...
    def predict(self, data: dict[str, Any]) -> Any: ...
    def get_compiled_model_path(self) -> str: ...


class MLModelStructureProgramOperation(Protocol):
    @property
    def blocks(self) -> Sequence["MLModelStructureProgramBlock"]: ...


class MLModelStructureProgramBlock(Protocol):
    @property
    def operations(self) -> Sequence[MLModelStructureProgramOperation]: ...


class MLModelStructureProgramFunction(Protocol):
    @property
    def block(self) -> MLModelStructureProgramBlock: ...


class MLModelStructureProgram(Protocol):
    @property
    def functions(self) -> Mapping[str, MLModelStructureProgramFunction]: ...


class MLModelStructure(Protocol):
    @property
    def program(self) -> MLModelStructureProgram | None: ...


class MLComputePlanDeviceUsage(Protocol):
    @property
    def preferred_compute_device(self) -> Any: ...


class MLComputePlan(Protocol):
    """Where macOS means to run each operation; there since macOS 14.4."""

    @property
    def model_structure(self) -> MLModelStructure: ...
    def get_compute_device_usage_for_mlprogram_operation(
        self, operation: MLModelStructureProgramOperation
    ) -> MLComputePlanDeviceUsage | None: ...


COMPUTE_DEVICES = {
    "MLCPUComputeDevice": "CPU",
    "MLGPUComputeDevice": "GPU",
    "MLNeuralEngineComputeDevice": "NeuralEngine",
}

LoadModel = Callable[[str, str], MLModel]  # of a package's path and a compute unit's name
LoadPlan = Callable[[str, str], MLComputePlan]  # of a compiled network's path and a compute unit's name


def work(folder: Path, load_model: LoadModel, load_plan: LoadPlan) -> None:
    """Answer the task in `folder`: samples, or what hindered them."""
    task = json.loads((folder / TASK).read_text(encoding="utf-8"))
    answer: dict[str, Any] = {"of": [task["candidate"]["sha256"], task["reference"]["sha256"]]}
    try:
        answer["samples"] = asdict(_visit(task, load_model, load_plan))
    except MeasurementError as err:
        answer["error"] = str(err)
    (folder / ANSWER).write_text(json.dumps(answer), encoding="utf-8")


def _visit(task: dict[str, Any], load_model: LoadModel, load_plan: LoadPlan) -> Samples:
    networks = [task["candidate"], task["reference"]]
    candidate, reference = (_loaded(load_model, network, task["units"]) for network in networks)
    inputs = [_input(network) for network in networks]
    samples = take_turns(
        lambda: _pass_ms(candidate, inputs[0]),
        lambda: _pass_ms(reference, inputs[1]),
        plan=TimingPlan(**task["plan"]),
        load_ms=_ms(candidate.load_duration_in_nano_seconds, "loading the network"),
    )
    return replace(samples, placement=_placement(load_plan, candidate, task["units"]))


def _loaded(load_model: LoadModel, network: dict[str, Any], units: str) -> MLModel:
    """A model that can predict: where Core ML refuses a network, coremltools warns and gives an empty one."""
    try:
        with warnings.catch_warnings(action="error", category=RuntimeWarning):
            model = load_model(network["path"], units)
        model.get_compiled_model_path()  # raises where there is none, as for a package newer than this macOS
    except Exception as err:  # RuntimeWarning, ValueError and bare Exception have no class in common
        raise MeasurementError(f"{network['name']}: Core ML cannot load it: {first_line(err)}") from err
    return model


def _input(network: dict[str, Any]) -> dict[str, Any]:
    value = random_input(
        shape=tuple(network["input_shape"]), precision=network["precision"], kind=network["input_kind"]
    )
    return {network["input_name"]: value}


def _pass_ms(model: MLModel, inputs: dict[str, Any]) -> float:
    """One prediction by Core ML's own clock, and by no other: the conversion from Python is left out."""
    try:
        model.predict(inputs)
    except Exception as err:  # RuntimeError, TypeError, KeyError and bare Exception
        raise MeasurementError(f"Core ML cannot run the network: {first_line(err)}") from err
    return _ms(model.last_predict_duration_in_nano_seconds, "a prediction")


def _ms(nanoseconds: int | None, what: str) -> float:
    if nanoseconds is None:
        raise MeasurementError(f"Core ML gave no duration for {what}")
    return nanoseconds / 1e6


def _placement(load_plan: LoadPlan, model: MLModel, units: str) -> tuple[tuple[str, float], ...]:
    """Empty where this macOS has no compute plans (before 14.4), or none for this network."""
    try:
        return planned_shares(load_plan(model.get_compiled_model_path(), units))
    except (RuntimeError, ValueError):  # of the framework, of coremltools without its library
        return ()


def planned_shares(plan: MLComputePlan) -> tuple[tuple[str, float], ...]:
    """`(("CPU", 0.03), ("NeuralEngine", 0.97))`: of the operators that run, by compute device.

    Operators without a device, which are the constants, are left out. Empty where none has one.
    """
    program = plan.model_structure.program
    functions = program.functions.values() if program is not None else ()
    names = [_device(plan, operation) for function in functions for operation in _operations(function.block)]
    counts = Counter(name for name in names if name is not None)
    return tuple((name, count / counts.total()) for name, count in sorted(counts.items()))


def _operations(block: MLModelStructureProgramBlock) -> Iterator[MLModelStructureProgramOperation]:
    """Those of the block and of the blocks within them, which are branches and loops."""
    for operation in block.operations:
        yield operation
        for inner in operation.blocks:
            yield from _operations(inner)


def _device(plan: MLComputePlan, operation: MLModelStructureProgramOperation) -> str | None:
    usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
    if usage is None or usage.preferred_compute_device is None:
        return None
    name = type(usage.preferred_compute_device).__name__
    return COMPUTE_DEVICES.get(name, name)


def _load_model(path: str, units: str) -> MLModel:
    import coremltools  # takes seconds

    model: MLModel = coremltools.models.MLModel(path, compute_units=coremltools.ComputeUnit[units])
    return model


def _load_plan(compiled_path: str, units: str) -> MLComputePlan:
    import coremltools

    plan: MLComputePlan = coremltools.models.compute_plan.MLComputePlan.load_from_path(
        compiled_path, compute_units=coremltools.ComputeUnit[units]
    )
    return plan


if __name__ == "__main__":
    end_with_parent()
    work(Path(sys.argv[1]), _load_model, _load_plan)
