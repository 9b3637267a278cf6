"""Export formats, by the name that artifacts and devices use."""

from importlib import import_module
from pathlib import Path

from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.export.untrained import untrained_network
from mvit2_search.models import formulated
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, CoreMLOptions, FormulationName

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
    options: CoreMLOptions | None = None,
) -> Artifact:
    """Export `arch`, for timing: the weights are random, and the same every time.

    The file is `folder/<key>.<format>`. Equal architectures, options and versions give equal hashes.

    Args:
        options: of a Core ML package.

    Raises:
        MeasurementError: the exporter refuses the network.
        SpecError: the format does not have such options.
    """
    return export_module(
        formulated(untrained_network(arch, num_classes), formulation),
        folder / f"{arch.key}.{format}",
        shape=(1, 3, arch.image_size, arch.image_size),
        convention=arch.input_convention,
        options=options,
    )


def export_module(
    module: nn.Module,
    path: Path,
    *,
    shape: tuple[int, ...],
    convention: str,
    options: CoreMLOptions | None = None,
) -> Artifact:
    """Export any module of one input, in the format that the ending of `path` names.

    Args:
        convention: of the input, in words that the file keeps.
        options: of a Core ML package.

    Raises:
        MeasurementError: the exporter refuses the module.
        SpecError: the format does not have such options.
    """
    format = path.suffix[1:]
    if options is not None and format != "mlpackage":
        raise SpecError(f"{format}: precision, target and kind of input are options of mlpackage only")
    where, function = FORMATS[format].split(":")
    exporter = getattr(import_module(where), function)
    more = {} if options is None else {"options": options}
    artifact: Artifact = exporter(module, path, shape, convention, **more)
    return artifact
