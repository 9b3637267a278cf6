"""A package's outputs for images, without Core ML."""

import numpy as np
import torch

from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.mil.interpreter import Arithmetic, Interpreter
from mvit2_search.export.mil.program import Program, read_program
from mvit2_search.records import Artifact


def run_mlpackage(
    artifact: Artifact, inputs_NCHW: np.ndarray, *, arithmetic: Arithmetic = "declared"
) -> np.ndarray:
    """Outputs [N, ...] of a package, one sample at a time.

    Args:
        inputs_NCHW: as the network takes them, also where the package takes images: these are handed over
            in 8 bits, in the order of channels that the package asks Core ML for.

    Raises:
        MeasurementError: the package is damaged, or does not compute what it declares.
        SpecError: an image was asked for and the values are no multiples of 1/255.
    """
    program = read_program(artifact.path)
    run, outputs = Interpreter(program, arithmetic), []
    samples = torch.from_numpy(np.ascontiguousarray(_given(program, inputs_NCHW)))
    with torch.inference_mode():
        for sample in samples:
            try:
                outputs.append(run(sample[None])[0].numpy())
            except MeasurementError as err:
                raise MeasurementError(f"{artifact.path.name}: {err}") from err
    return np.stack(outputs)


def _given(program: Program, inputs_NCHW: np.ndarray) -> np.ndarray:
    """What Core ML would hand to the program."""
    if program.image is None:
        return inputs_NCHW.astype(np.float32)
    pixels = np.round(255 * inputs_NCHW)
    if np.abs(pixels - 255 * inputs_NCHW).max() > 1e-3 or pixels.min() < 0 or pixels.max() > 255:
        raise SpecError("an image has 8 bits per channel: the values must be multiples of 1/255 from 0 to 1")
    order = program.convention[:3]  # that of `inputs_NCHW`
    if {order, program.image} - {"RGB", "BGR"}:
        raise MeasurementError(f"the order of the channels is not stated: {program.convention!r}")
    turned = pixels if order == program.image else pixels[:, ::-1]
    return turned.astype(np.float32)
