"""Whether an exported network computes what it should, on images of the data that it is for."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.data import to_input
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.untrained import untrained_network
from mvit2_search.export.verify import Agreement, verify, widest_leads
from mvit2_search.records import Artifact


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file to be timed, and the comparison that it must pass first."""

    artifact: Artifact
    verify: Callable[[], Agreement]

    def check(self) -> None:
        """Raises MeasurementError where the file computes something else than what was exported."""
        failed = [str(gate) for gate in self.verify().gates if not gate.passed]
        if failed:
            raise MeasurementError(
                f"{self.artifact.path.name} computes something else than the network: {'; '.join(failed)}"
            )


def verify_network(artifact: Artifact, arch: ArchConfig, pixels_NSSC: np.ndarray) -> Agreement:
    """Compare a file with the untrained network of `arch`, which `export_model` writes.

    Compared is half of the images: those on which the network is surest of its class. Grey images are tinted:
    to a network whose channels are mixed up, three equal ones would look the same.

    Args:
        pixels_NSSC: uint8 images of the network's input size.

    Raises:
        SpecError: the file takes or gives something else than `arch` does.
        MeasurementError: it is damaged.
        BackendUnavailable: what reads or runs the file is missing.
    """
    size = arch.image_size
    if artifact.input_shape != (1, 3, size, size) or len(artifact.output_shape) != 2:
        raise SpecError(
            f"{artifact.path}: takes {list(artifact.input_shape)} and gives {list(artifact.output_shape)}; "
            f"the architecture takes {[1, 3, size, size]} and gives classes"
        )
    if artifact.convention != arch.input_convention:
        raise SpecError(
            f"{artifact.path}: says that it takes {artifact.convention!r}; "
            f"the architecture takes {arch.input_convention!r}"
        )
    model = untrained_network(arch, artifact.output_shape[1])
    images = to_input(_tinted(pixels_NSSC), arch.channel_order).numpy()
    return verify(artifact, model, widest_leads(model, images, count=max(1, len(images) // 2)))


def _tinted(pixels_NSSC: np.ndarray) -> np.ndarray:
    """Grey images with three quarters of the green and half of the blue; others as they are."""
    grey = pixels_NSSC.shape[-1] == 1 or not (pixels_NSSC[..., :1] != pixels_NSSC).any()
    return (pixels_NSSC[..., :1] * np.array([1, 0.75, 0.5])).astype(np.uint8) if grey else pixels_NSSC
