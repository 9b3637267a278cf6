"""The calls into coremltools that work on macOS alone. Only the worker imports this: coremltools takes seconds."""

import coremltools

from mvit2_search.measure.devices.coreml.types import MLComputePlan, MLModel


def load_model(path: str, units: str) -> MLModel:
    model: MLModel = coremltools.models.MLModel(path, compute_units=coremltools.ComputeUnit[units])
    return model


def load_plan(compiled_path: str, units: str) -> MLComputePlan:
    plan: MLComputePlan = coremltools.models.compute_plan.MLComputePlan.load_from_path(
        compiled_path, compute_units=coremltools.ComputeUnit[units]
    )
    return plan
