"""ExecuTorch programs, in single precision: by XNNPACK's kernels, and by ExecuTorch's where it has none."""

import warnings
from pathlib import Path

import numpy as np
import torch
from torch import nn

from mvit2_search.errors import translated
from mvit2_search.export.formats import Format
from mvit2_search.export.runtimes import filtered_stderr
from mvit2_search.export.runtimes.executorch import CONVENTION, NOTES, Network, check_installed, describe
from mvit2_search.records import Artifact


def export_executorch(model: nn.Module, path: Path, shape: tuple[int, ...], convention: str) -> Artifact:
    """The `export` of `PTE`; it takes a minute at 256 pixels. A method of the file returns the convention."""
    check_installed()
    with warnings.catch_warnings(action="ignore"), translated("ExecuTorch export failed"):
        program = _lowered(model, shape, convention)
    path.write_bytes(program)
    return describe(path)


def run_executorch(artifact: Artifact, inputs_NCHW: np.ndarray) -> np.ndarray:
    """The `run` of `PTE`."""
    network = Network(artifact.path)
    images_NCHW = np.ascontiguousarray(inputs_NCHW, np.float32)
    return np.concatenate([network.run(x_CHW[None]) for x_CHW in images_NCHW])


def _lowered(model: nn.Module, shape: tuple[int, ...], convention: str) -> bytes:
    with filtered_stderr(*NOTES):
        from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
        from executorch.exir import to_edge_transform_and_lower

    program = to_edge_transform_and_lower(
        torch.export.export(model, (torch.zeros(shape),)),
        partitioner=[XnnpackPartitioner()],
        constant_methods={CONVENTION: convention},
    )
    buffer: bytes = program.to_executorch().buffer
    return buffer


PTE = Format(export=export_executorch, read=describe, run=run_executorch)
