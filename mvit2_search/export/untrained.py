"""Networks with random weights, exported to be timed."""

from pathlib import Path

import torch
from torch import nn

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import Head
from mvit2_search.export.formats import export_module
from mvit2_search.models import MobileViT, build_model, formulated
from mvit2_search.models.attention import LinformerAttention, MultiHeadAttention, SeparableSelfAttention
from mvit2_search.models.encoder import EncoderLayer
from mvit2_search.models.mobilevit import MobileViTv1Block, MobileViTv2Block
from mvit2_search.records import DEFAULT_FORMULATION, Artifact, CoreMLOptions, FormulationName

_GAIN = 2.3  # of convolutions, over 1 / inputs: keeps the activations of all widths between 0.06 and 3
_LOGITS = 0.25  # gives logits of about 1
_TOKENS, _BRANCHES, _SCORES = 0.5, 0.5, 0.3  # of weights before and in transformers: see `_keep_in_range`


def export_model(
    arch: ArchConfig,
    folder: Path,
    *,
    format: str,
    head: Head,
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
        formulated(untrained_network(arch, head), formulation),
        folder / f"{arch.key}.{format}",
        shape=(1, 3, arch.image_size, arch.image_size),
        convention=arch.input_convention,
        options=options,
    )


def untrained_network(arch: ArchConfig, head: Head) -> MobileViT:
    """The network that `export_model` exports, the same weights every time.

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
            assert isinstance(mixer, SeparableSelfAttention | MultiHeadAttention | LinformerAttention)
            assert isinstance(last, nn.Linear)
            keys_and_values = 2 * mixer.out.in_features
            mixer.qkv.weight[:-keys_and_values].mul_(_SCORES)
            mixer.out.weight.mul_(_BRANCHES)
            last.weight.mul_(_BRANCHES)
