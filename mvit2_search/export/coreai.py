"""Core AI assets (`.aimodel`), by coreai-torch. They are for macOS and iOS 27 and later."""

import copy
import warnings
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

import torch
from torch import nn

from mvit2_search.errors import translated
from mvit2_search.export.formats import Format
from mvit2_search.export.runtimes import filtered_stderr
from mvit2_search.export.runtimes.coreai import NOTES, AIProgram, check_installed, describe, run
from mvit2_search.records import Artifact, Precision


def export_coreai(
    model: nn.Module, path: Path, shape: tuple[int, ...], convention: str, precision: Precision = "float32"
) -> Artifact:
    """The `export` of `AIMODEL`; input, output and weights are in `precision`, the convention in the metadata."""
    check_installed("coreai", "coreai_torch")
    dtype = getattr(torch, precision)
    with (
        warnings.catch_warnings(action="ignore"),
        redirect_stdout(StringIO()),  # it says that it converts
        translated("Core AI export failed"),
    ):
        program = _converted(copy.deepcopy(model).to(dtype), torch.zeros(shape, dtype=dtype))
        program.save_asset(path, _metadata(convention))
    return describe(path)


def _converted(model: nn.Module, x: torch.Tensor) -> AIProgram:
    with filtered_stderr(*NOTES):
        from coreai_torch import TorchConverter, get_decomp_table

    program = torch.export.export(model, (x,)).run_decompositions(get_decomp_table())
    converter = TorchConverter(mode=TorchConverter.Mode.RELEASE)  # no stack traces in the file
    converter.add_exported_program(program, input_names=["image"], output_names=["logits"])
    made: AIProgram = converter.to_coreai()
    return made


def _metadata(convention: str) -> Any:
    from coreai.runtime import AIModelAssetMetadata

    metadata = AIModelAssetMetadata()
    metadata.set_custom("image", convention)
    return metadata


AIMODEL = Format(export=export_coreai, read=describe, run=run)
