"""Core ML packages: ML Programs for iOS 16 and later, converted on any system.

Only macOS runs the result; elsewhere `export.mil` reads and checks it. Names and types are given explicitly: left
out, they depend on how the network was captured, and latencies would differ by a hidden conversion.
"""

import warnings
from contextlib import redirect_stderr
from functools import partial
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import nn

from mvit2_search.errors import SpecError, translated
from mvit2_search.export.formats import Format
from mvit2_search.export.mil.interpreter import run_mlpackage
from mvit2_search.export.mil.mlpackage import import_coremltools, read_mlpackage
from mvit2_search.records import Artifact, CoreMLOptions, Precision

ORDERS = ("RGB", "BGR")  # of the channels, by coremltools' names

_DEFAULTS = CoreMLOptions()
_DTYPES: dict[Precision, type] = {"float16": np.float16, "float32": np.float32}


def export_coreml(
    model: nn.Module,
    path: Path,
    shape: tuple[int, ...],
    convention: str,
    options: CoreMLOptions = _DEFAULTS,
) -> Artifact:
    """The `export` of `MLPACKAGE`. The convention of an image begins with its order of the channels.

    Raises:
        SpecError: the input is no image and is to be one.
    """
    coremltools = import_coremltools()
    given = _input(coremltools, shape, convention, options)
    with (
        warnings.catch_warnings(action="ignore"),
        redirect_stderr(StringIO()),  # it draws progress bars
        TemporaryDirectory(dir=path.parent, prefix="convert-") as own,  # it would leave a package until exit
    ):
        with translated("Core ML conversion failed"):
            package = coremltools.convert(
                _traced(model, shape),
                convert_to="mlprogram",
                inputs=[given],
                outputs=[coremltools.TensorType(name="logits", dtype=_DTYPES[options.precision])],
                minimum_deployment_target=getattr(coremltools.target, options.target),
                compute_precision=getattr(coremltools.precision, options.precision.upper()),
                package_dir=f"{own}/made.mlpackage",
                skip_model_load=True,
            )
        package.input_description["image"] = convention
        package.save(str(path))
    return read_mlpackage(path)


def _traced(model: nn.Module, shape: tuple[int, ...]) -> Any:
    """Not traced a second time for torch's own check: the package is compared with the network afterwards."""
    return torch.jit.trace(model, torch.zeros(shape), check_trace=False)  # type: ignore[no-untyped-call]


def _input(coremltools: Any, shape: tuple[int, ...], convention: str, options: CoreMLOptions) -> Any:
    if options.input_kind == "tensor":
        return coremltools.TensorType(name="image", shape=shape, dtype=_DTYPES[options.precision])
    order = convention[:3]
    if order not in ORDERS or len(shape) != 4 or shape[:2] != (1, 3):
        raise SpecError(f"an input of shape {shape}, {convention}, is no image")
    layout = getattr(coremltools.colorlayout, order)
    return coremltools.ImageType(name="image", shape=shape, scale=1 / 255, color_layout=layout)


MLPACKAGE = Format(
    export=export_coreml,
    read=read_mlpackage,
    run=run_mlpackage,
    run_exactly=partial(run_mlpackage, arithmetic="float64"),
)
