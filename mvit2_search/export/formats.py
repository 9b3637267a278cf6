"""File formats of networks, by the name that artifacts, devices and files' endings use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from mvit2_search.errors import SpecError
from mvit2_search.records import Artifact, CoreMLOptions
from mvit2_search.system.registry import Entry, Registry

if TYPE_CHECKING:  # the table is read without them
    from pathlib import Path

    import numpy as np
    from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class Format:
    """What can be done with one format. Each raises MeasurementError or BackendUnavailable where it cannot.

    Attributes:
        export: writes a module to a path, for one input of a shape, with the input's convention in words that the
            file keeps. The input is called `image`, the output `logits`, where the format has names.
        read: describes a file by what stands in it.
        run: outputs [N, ...] of a file for inputs [N, ...], on this computer, one sample at a time.
        run_exactly: the same in double precision, where there is such a way.
    """

    export: Callable[..., Artifact]
    read: Callable[[Path], Artifact]
    run: Callable[[Artifact, np.ndarray], np.ndarray]
    run_exactly: Callable[[Artifact, np.ndarray], np.ndarray] | None = None


FORMATS: Registry[Entry[Format]] = Registry(
    "format",
    {
        "onnx": Entry("mvit2_search.export.onnx:ONNX"),
        "mlpackage": Entry("mvit2_search.export.coreml:MLPACKAGE"),
        "aimodel": Entry("mvit2_search.export.coreai:AIMODEL"),
        "pte": Entry("mvit2_search.export.executorch:PTE"),
    },
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

    Raises:
        MeasurementError: the exporter refuses the module.
        SpecError: `options` are of a Core ML package, and this is another format.
        BackendUnavailable: what writes the format is missing.
    """
    format = path.suffix[1:]
    if options is not None and format != "mlpackage":
        raise SpecError(f"{format}: precision, target and kind of input are options of mlpackage only")
    more = {} if options is None else {"options": options}
    return FORMATS.entry(format).load().export(module, path, shape, convention, **more)


def open_artifact(path: Path) -> Artifact:
    """An exported file, described by what stands in it.

    Raises:
        SpecError: there is no such file, or its ending is that of no format.
        MeasurementError: it is damaged.
        BackendUnavailable: a tool that reads it is missing.
    """
    if path.suffix[1:] not in FORMATS:
        raise SpecError(f"{path}: expected a file that ends in {', '.join('.' + name for name in FORMATS)}")
    if not path.exists():
        raise SpecError(f"{path}: no such file")
    return FORMATS[path.suffix[1:]].load().read(path)
