"""Networks with random weights: exported to be timed, and compared with their file first."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead, Head
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.formats import export_module
from mvit2_search.export.verify import Agreement, verify, widest_leads
from mvit2_search.models import MobileViT, build_model, formulated
from mvit2_search.models.attention import EncoderLayer, MultiHeadAttention, SeparableSelfAttention
from mvit2_search.models.mobilevit import MobileViTv1Block, MobileViTv2Block
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, CoreMLOptions, FormulationName
from mvit2_search.task.data.dataset import to_input

Images = Callable[[int], np.ndarray]  # uint8 images, [N, S, S, channels], of S pixels


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A file to be timed, and the comparison that it must pass first."""

    artifact: Artifact
    verify: Callable[[], Agreement]

    def check(self) -> None:
        """Raises MeasurementError where the file computes something else than what was exported."""
        if failed := [str(gate) for gate in self.verify().gates if not gate.passed]:
            name = self.artifact.path.name
            raise MeasurementError(f"{name} computes something else than the network: {'; '.join(failed)}")


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
        """The file, and its comparison with the network on `images`; raises as `export_module` does."""


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
    """The `Exporter` of all that is timed; `options` are of a Core ML package."""
    artifact = export_model(arch, folder, format=format, head=head, formulation=formulation, options=options)
    return Written(artifact=artifact, verify=lambda: verify_network(artifact, arch, images(arch.image_size)))


def export_model(
    arch: ArchConfig,
    folder: Path,
    *,
    format: str,
    head: Head,
    formulation: FormulationName = DEFAULT_FORMULATION,
    options: CoreMLOptions | None = None,
) -> Artifact:
    """Write `folder/<key>.<format>`, of `untrained_network`; raises as `export_module` does.

    Equal architectures, options and versions give equal hashes.
    """
    return export_module(
        formulated(untrained_network(arch, head), formulation),
        folder / f"{arch.key}.{format}",
        shape=(1, 3, arch.image_size, arch.image_size),
        convention=arch.input_convention,
        options=options,
    )


def verify_network(artifact: Artifact, arch: ArchConfig, pixels_NSSC: np.ndarray) -> Agreement:
    """Compare a file with the untrained network of `arch`, which `export_untrained` writes.

    Compared is half of the uint8 images: those on which the network is surest of its class. Grey images are
    tinted: to a network whose channels are mixed up, three equal ones would look the same.

    Raises:
        SpecError: the file takes or gives something else than `arch` does; also as `verify` does.
    """
    path, takes, gives = artifact.path, list(artifact.input_shape), list(artifact.output_shape)
    right = [1, 3, arch.image_size, arch.image_size]
    if takes != right or len(gives) != 2:
        raise SpecError(
            f"{path}: takes {takes} and gives {gives}; the architecture takes {right} and gives classes"
        )
    said, convention = artifact.convention, arch.input_convention
    if said != convention:
        raise SpecError(f"{path}: says that it takes {said!r}; the architecture takes {convention!r}")
    model = untrained_network(arch, ClassifierHead(gives[1]))
    images = to_input(_tinted(pixels_NSSC), arch.channel_order).numpy()
    return verify(artifact, model, widest_leads(model, images, count=max(1, len(images) // 2)))


def _tinted(pixels_NSSC: np.ndarray) -> np.ndarray:
    """Grey images with three quarters of the green and half of the blue; others as they are."""
    grey = pixels_NSSC.shape[-1] == 1 or not (pixels_NSSC[..., :1] != pixels_NSSC).any()
    return (pixels_NSSC[..., :1] * np.array([1, 0.75, 0.5])).astype(np.uint8) if grey else pixels_NSSC


_GAIN = 2.3  # of convolutions, over 1 / inputs: keeps the activations of all widths between 0.06 and 3
_LOGITS = 0.25  # gives logits of about 1
_TOKENS, _BRANCHES, _SCORES = 0.5, 0.5, 0.3  # of weights before and in transformers: see `_keep_in_range`


def untrained_network(arch: ArchConfig, head: Head) -> MobileViT:
    """A network with random weights, the same every time.

    It is as heavy as a trained one: Core ML drops a norm's scale of 1 and shift of 0. And its outputs depend
    on the image as a trained one's do: as training begins, its activations fade from layer to layer until
    all images give the same outputs, which would hide most errors of an exported file.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(0)  # torch.manual_seed would change that of GPUs too
        model = build_model(arch, head)
        for parameter in model.parameters():
            if parameter.ndim == 1:
                nn.init.normal_(parameter, mean=float(parameter.detach().mean()), std=0.02)
        for module in model.modules():
            if isinstance(module, nn.Linear | nn.Conv2d):
                gain = 1 if isinstance(module, nn.Linear) else _GAIN
                nn.init.normal_(module.weight, std=(gain / module.weight[0].numel()) ** 0.5)
        with torch.no_grad():
            model.classifier.linear.weight.mul_(_LOGITS)
            _keep_in_range(model)
    return model


def _keep_in_range(model: MobileViT) -> None:
    """Smaller weights before and in the transformers, as trained ones are.

    Converters square what a norm takes, and half precision ends at 65,504: values above 255 would overflow.
    With plain random weights few tokens draw all the attention and grow from layer to layer, up to 900.
    """
    for module in model.modules():
        if isinstance(module, MobileViTv1Block | MobileViTv2Block):
            module.to_tokens.weight.mul_(_TOKENS)
        if isinstance(module, EncoderLayer):
            mixer, last = module.mixer, module.ffn[-1]
            assert isinstance(mixer, SeparableSelfAttention | MultiHeadAttention)
            assert isinstance(last, nn.Linear)
            mixer.qkv.weight[: -2 * mixer.out.in_features].mul_(_SCORES)  # not the keys and values
            mixer.out.weight.mul_(_BRANCHES)
            last.weight.mul_(_BRANCHES)
