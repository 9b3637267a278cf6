"""How ml-cvnets, timm and transformers name the weights of these networks.

A name says where in the network something lies, from the outside in, and what it is. In the tables {s} is
the stage from 0, {t} the stage from 1, {k} the block in the stage, {j} the encoder layer, {n} the number
of encoder layers, and {residual} where transformers keeps a stage's inverted residuals. Where one of our
tensors is several of theirs, put together along the first axis, they are separated by |.
"""

import re
from typing import Literal, get_args

from mvit2_search.arch import ATTENTION_STAGES, ArchConfig

Scheme = Literal["ml-cvnets", "timm", "transformers"]
SCHEMES: tuple[Scheme, ...] = get_args(Scheme)

_STAGE = {"ml-cvnets": "layer_{t}.{k}.", "timm": "stages.{s}.{k}.", "transformers": "{family}.encoder.layer.{s}."}
_LAYER = {"ml-cvnets": "global_rep.{j}.", "timm": "transformer.{j}.", "transformers": "transformer.layer.{j}."}
_CONV_AND_NORM = {  # ours are 0 and 1
    "ml-cvnets": ("block.conv", "block.norm"),
    "timm": ("conv", "bn"),
    "transformers": ("convolution", "normalization"),
}
_BOTH = """
stem               conv_1                               stem           {family}.conv_stem
final              conv_1x1_exp                         final_conv     {family}.conv_1x1_exp
expand             block.exp_1x1                        conv1_1x1      {residual}.expand_1x1
depthwise          block.conv_3x3                       conv2_kxk      {residual}.conv_3x3
project            block.red_1x1                        conv3_1x1      {residual}.reduce_1x1
from_tokens        conv_proj                            conv_proj      conv_projection
fuse               fusion                               conv_fusion    fusion
encoder.norm       global_rep.{n}                       norm           layernorm
norm2              pre_norm_ffn.0                       norm2          layernorm_after
"""
_V2 = """
classifier.linear  classifier.1                         head.fc        classifier
local              local_rep.0                          conv_kxk       conv_kxk
to_tokens          local_rep.1.block.conv               conv_1x1       conv_1x1.convolution
norm1              pre_norm_attn.0                      norm1          layernorm_before
mixer.qkv          pre_norm_attn.1.qkv_proj.block.conv  attn.qkv_proj  attention.qkv_proj.convolution
mixer.out          pre_norm_attn.1.out_proj.block.conv  attn.out_proj  attention.out_proj.convolution
ffn.0              pre_norm_ffn.1.block.conv            mlp.fc1        ffn.conv1.convolution
ffn.2              pre_norm_ffn.3.block.conv            mlp.fc2        ffn.conv2.convolution
"""
_V1 = """
classifier.linear  classifier.fc                        head.fc        classifier
local              local_rep.conv_3x3                   conv_kxk       conv_kxk
to_tokens          local_rep.conv_1x1.block.conv        conv_1x1       conv_1x1.convolution
norm1              pre_norm_mha.0                       norm1          layernorm_before
mixer.qkv          pre_norm_mha.1.qkv_proj              attn.qkv       attention.attention.query|key|value
mixer.out          pre_norm_mha.1.out_proj              attn.proj      attention.output.dense
ffn.0              pre_norm_ffn.1                       mlp.fc1        intermediate.dense
ffn.2              pre_norm_ffn.4                       mlp.fc2        output.dense
"""
_OURS = re.compile(r"(?:stages\.(\d+)\.(\d+)\.)?(?:encoder\.layers\.(\d+)\.)?(.+)")


def foreign_names(key: str, arch: ArchConfig, scheme: Scheme) -> list[str]:
    """What `scheme` calls our tensor `key`: several names where it keeps the tensor in parts, none where
    it has no such tensor."""
    found = _OURS.fullmatch(key)
    assert found is not None
    stage, block, layer, rest = found.groups()
    places = _places(_BOTH + (_V1 if arch.family == "mobilevitv1" else _V2), scheme)
    place = next((place for place in places if rest.startswith(f"{place}.")), None)
    if place is None:
        return []
    head, *others = places[place].split("|")
    heads = [head, *(head.rpartition(".")[0] + f".{other}" for other in others)]
    prefix = (_STAGE[scheme] if stage else "") + (_LAYER[scheme] if layer else "")
    values = _values(arch, int(stage or 0), block, layer)
    leaf = _leaf(rest.removeprefix(f"{place}."), scheme)
    return [(prefix + name).format(**values) + f".{leaf}" for name in heads]


def _places(table: str, scheme: Scheme) -> dict[str, str]:
    rows = [line.split() for line in table.splitlines() if line]
    return {row[0]: row[1 + SCHEMES.index(scheme)] for row in rows}


def _values(arch: ArchConfig, stage: int, block: str | None, layer: str | None) -> dict[str, object]:
    attention = stage + 1 in ATTENTION_STAGES
    return {
        "s": stage,
        "t": stage + 1,
        "k": block,
        "j": layer,
        "n": arch.attention_layers[stage - 2] if attention else 0,
        "family": "mobilevit" if arch.family == "mobilevitv1" else "mobilevitv2",
        "residual": "downsampling_layer" if attention else f"layer.{block}",
    }


def _leaf(rest: str, scheme: Scheme) -> str:
    """`0.weight` is a convolution's, `1.weight` that of the norm behind it."""
    part, _, leaf = rest.rpartition(".")
    return f"{_CONV_AND_NORM[scheme][int(part)]}.{leaf}" if part else leaf
