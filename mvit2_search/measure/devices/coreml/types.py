"""The parts of coremltools' classes that are used, under their own names.

Tests compare each member with the package, so using anything else is a type error. The classes are described in
coremltools' `models/model.py` and `models/compute_plan.py`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


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
