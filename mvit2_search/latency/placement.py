"""Where Core ML means to run a network, in shares of its operators."""

from collections import Counter
from collections.abc import Iterator

from mvit2_search.latency.coreml_types import (
    MLComputePlan,
    MLModelStructureProgramBlock,
    MLModelStructureProgramOperation,
)

COMPUTE_DEVICES = {
    "MLCPUComputeDevice": "CPU",
    "MLGPUComputeDevice": "GPU",
    "MLNeuralEngineComputeDevice": "NeuralEngine",
}


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
