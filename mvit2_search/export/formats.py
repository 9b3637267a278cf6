"""Export formats, by the name that artifacts and devices use."""

from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.models import MobileViT, build_model, formulated
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, FormulationName

FORMATS = {
    "onnx": "mvit2_search.export.onnx:export_onnx",
    "mlpackage": "mvit2_search.export.coreml:export_coreml",
    "aimodel": "mvit2_search.export.coreai:export_coreai",
    "pte": "mvit2_search.export.executorch:export_executorch",
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
    model = formulated(_untrained(arch, num_classes), formulation)
    shape = (1, 3, arch.image_size, arch.image_size)
    return export_module(model, folder / f"{arch.key}.{format}", shape=shape, convention=arch.input_convention)


def _untrained(arch: ArchConfig, num_classes: int) -> MobileViT:
    """A network as heavy as a trained one: Core ML drops a norm's scale of 1 and shift of 0."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = build_model(arch, num_classes)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.02)
    return model


def export_module(module: nn.Module, path: Path, *, shape: tuple[int, ...], convention: str) -> Artifact:
    """Export any module of one input, in the format that the ending of `path` names.

    Args:
        convention: of the input, in words that the file keeps.

    Raises:
        MeasurementError: the exporter refuses the module.
    """
    where, function = FORMATS[path.suffix[1:]].split(":")
    exporter = getattr(import_module(where), function)
    artifact: Artifact = exporter(module, path, shape, convention)
    return artifact
