"""How an architecture becomes a file that a device times: it is exported, and compared with its network first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError
from mvit2_search.export.untrained import export_model
from mvit2_search.export.verify import Agreement, verify_network
from mvit2_search.records import Artifact, CoreMLOptions, FormulationName

Images = Callable[[int], np.ndarray]  # uint8 images, [N, S, S, channels], of S pixels


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


class Exporter(Protocol):
    """Writes the network of an architecture, with random weights, to an empty folder."""

    def __call__(
        self,
        arch: ArchConfig,
        folder: Path,
        *,
        format: str,
        head: Head,
        formulation: FormulationName,
        images: Images,
    ) -> Written:
        """The file, and its comparison with the network on `images`.

        Raises:
            MeasurementError: the network cannot be exported.
            BackendUnavailable: what writes the format is missing.
        """


def export_untrained(
    arch: ArchConfig,
    folder: Path,
    *,
    format: str,
    head: Head,
    formulation: FormulationName,
    images: Images,
    options: CoreMLOptions | None = None,
) -> Written:
    """The exporter of all that is timed; `options` are of a Core ML package."""
    artifact = export_model(arch, folder, format=format, head=head, formulation=formulation, options=options)
    return Written(artifact=artifact, verify=lambda: verify_network(artifact, arch, images(arch.image_size)))
