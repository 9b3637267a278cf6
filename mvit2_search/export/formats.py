"""Export formats, by the name that artifacts and devices use."""

from importlib import import_module
from pathlib import Path

import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.models import build_model, formulated
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, FormulationName

FORMATS = {
    "onnx": "mvit2_search.export.onnx:export_onnx",
    "mlpackage": "mvit2_search.export.coreml:export_coreml",
}


def export_model(
    arch: ArchConfig,
    folder: Path,
    *,
    format: str,
    num_classes: int,
    formulation: FormulationName = DEFAULT_FORMULATION,
) -> Artifact:
    """Export `arch`, for timing: the weights are random, and the same every time.

    The file is `folder/<key>.<format>`. Equal architectures and versions give equal hashes.

    Raises:
        MeasurementError: the exporter refuses the network.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = formulated(build_model(arch, num_classes), formulation)
    module, function = FORMATS[format].split(":")
    exporter = getattr(import_module(module), function)
    artifact: Artifact = exporter(model, folder / f"{arch.key}.{format}", arch.image_size, arch.input_convention)
    return artifact
