"""Networks to learn from: what each gives for images, whichever library runs it."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mvit2_search.arch import ChannelOrder
from mvit2_search.errors import (
    BackendUnavailable,
    MeasurementError,
    SpecError,
    StorageError,
    TrainingError,
    first_line,
    translated,
)
from mvit2_search.export.formats import open_artifact
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.models import for_inference
from mvit2_search.task.data.dataset import to_input
from mvit2_search.train.checkpoint import best_checkpoint
from mvit2_search.train.saved import trained_network

_TIMM = "timm:"
_BATCH = 128  # images at most


@dataclass(frozen=True, kw_only=True, slots=True)
class Teacher:
    """A trained network that another one learns from.

    Attributes:
        name: as it was asked for.
        sha256: of its weights, and of all else that its outputs follow from.
        size: side of the images that it takes.
        classes: number of its outputs; `names`, where it knows them.
        network: gives outputs [N, K] for images [N, 3, size, size] on `device`, in [0, 1].
    """

    name: str
    sha256: str
    size: int
    device: str
    network: Callable[[Tensor], Tensor]
    order: ChannelOrder = "RGB"
    classes: int = 0
    names: tuple[str, ...] | None = None

    def outputs(self, pixels_NSSC: Tensor) -> Tensor:
        """Logits [N, K] for uint8 images of any size, without gradients.

        Raises:
            TrainingError: they are not finite.
        """
        with torch.inference_mode():
            parts = [pixels_NSSC[start : start + _BATCH] for start in range(0, len(pixels_NSSC), _BATCH)]
            found_NK = torch.cat([self.network(self._input(part)) for part in parts])
        if not found_NK.isfinite().all():
            raise TrainingError(f"`teacher` {self.name}: its outputs are not finite; try `precision` fp32")
        return found_NK

    def _input(self, pixels_NSSC: Tensor) -> Tensor:
        x_NCSS = to_input(pixels_NSSC.numpy(), self.order, self.device)
        if x_NCSS.shape[-1] == self.size:
            return x_NCSS
        size = (self.size, self.size)
        return F.interpolate(x_NCSS, size, mode="bicubic", antialias=True).clamp(0, 1)


def open_teacher(what: str, *, device: str) -> Teacher:
    """An ONNX file; a checkpoint, or the folder of a training, whose best one is taken; or timm:NAME.

    ONNX files take RGB images in [0, 1] unless they say BGR, as those of this program do, and run on the CPU. A
    network of timm gets images with the mean and deviation that it was trained with.

    Raises:
        SpecError: there is no such thing, or it takes no square images or gives no classes.
        StorageError: the checkpoint is damaged.
        MeasurementError: the file is damaged, or cannot be run.
        BackendUnavailable: a library is missing, or weights cannot be fetched.
        TrainingError: its outputs are not finite.
    """
    path = Path(what)
    try:
        if what.startswith(_TIMM):
            return _tried(_of_timm(what, device))
        if path.suffix == ".onnx":
            return _tried(_of_onnx(path))
        if path.is_dir():
            return _tried(_of_checkpoint(path, device))
    except (SpecError, StorageError, MeasurementError, BackendUnavailable) as err:
        raise type(err)(f"`teacher`: {err}") from err
    raise SpecError(
        f"`teacher` {what}: expected a file that ends in .onnx, the folder of a training, or timm: and a name"
    )


def _tried(teacher: Teacher) -> Teacher:
    """With the number of its classes, which an image tells."""
    grey_1SSC = torch.full((1, teacher.size, teacher.size, 3), 128, dtype=torch.uint8)
    found = teacher.outputs(grey_1SSC)
    if found.ndim != 2 or len(found) != 1:
        raise SpecError(f"{teacher.name}: gives {[*found.shape]} for one image; expected [1, classes]")
    return replace(teacher, classes=found.shape[1])


def _of_onnx(path: Path) -> Teacher:
    artifact = open_artifact(path)
    count, *image = artifact.input_shape or (0,)
    size = image[-1] if image else 0
    if image != [3, size, size] or size < 1:
        raise SpecError(f"{path}: takes {[*artifact.input_shape]}; expected [N, 3, size, size]")
    session = load_network(path)

    def network(x_NCSS: Tensor) -> Tensor:
        x, at_once = np.ascontiguousarray(x_NCSS.numpy()), count or len(x_NCSS)
        parts = [_padded(x[start : start + at_once], at_once) for start in range(0, len(x), at_once)]
        with translated(f"{path.name}: ONNX Runtime cannot run it"):
            found = [session.run(None, {artifact.input_name: part})[0] for part in parts]
        return torch.from_numpy(np.concatenate(found)[: len(x)])

    return Teacher(
        name=str(path),
        sha256=artifact.sha256,
        size=size,
        device="cpu",
        network=network,
        order="BGR" if artifact.convention.startswith("BGR") else "RGB",
    )


def _padded(x_NCSS: np.ndarray, count: int) -> np.ndarray:
    """So many images, of which the last is repeated."""
    return np.concatenate([x_NCSS, np.repeat(x_NCSS[-1:], count - len(x_NCSS), axis=0)])


def _of_checkpoint(path: Path, device: str) -> Teacher:
    model, state = trained_network(best_checkpoint(path))
    arch, size = state.inputs.arch, state.inputs.recipe.image_size
    return Teacher(
        name=str(path),
        sha256=_digest(model, arch.to_json(), size),
        size=size,
        device=device,
        network=for_inference(model).to(device),
        order=arch.channel_order,
        names=state.inputs.classes,
    )


def _of_timm(what: str, device: str) -> Teacher:
    name = what.removeprefix(_TIMM)
    os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
    try:
        import timm
    except (ImportError, RuntimeError) as err:  # torchvision, which it imports, does not load beside every torch
        raise BackendUnavailable(
            f"{what}: timm cannot be imported: {first_line(err)}; pip install timm torchvision"
        ) from err
    if not name or not timm.is_model(name):
        raise SpecError(f"{what}: expected timm: and the name of one of its networks; timm.list_models() has them")
    try:
        model = timm.create_model(name, pretrained=True).eval().to(device)
    except Exception as err:  # of timm, of what fetches files, and of what reads them
        raise BackendUnavailable(
            f"{what}: timm cannot load its weights: {first_line(err).rstrip('.')}; fetch them where their "
            "server can be reached"
        ) from err
    return _of_timm_model(what, model, device)


def _of_timm_model(what: str, model: Any, device: str) -> Teacher:
    known = model.pretrained_cfg
    channels, height, width = known["input_size"]
    if (channels, height) != (3, width):
        raise SpecError(f"{what}: takes images of {known['input_size']}; expected square ones of 3 channels")
    mean_C11, std_C11 = (torch.tensor(known[key], device=device).reshape(3, 1, 1) for key in ("mean", "std"))
    return Teacher(
        name=what,
        sha256=_digest(model, what, known["input_size"], known["mean"], known["std"]),
        size=height,
        device=device,
        network=lambda x_NCSS: model((x_NCSS - mean_C11) / std_C11),
    )


def _digest(model: nn.Module, *settings: object) -> str:
    found = hashlib.sha256(repr(settings).encode())
    for name, tensor in model.state_dict().items():
        found.update(f"{name} {[*tensor.shape]}".encode())
        found.update(tensor.cpu().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()
