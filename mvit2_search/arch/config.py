"""What a candidate network is, as plain data and as YAML. Never imports torch: `models.build_model` builds it.

A MobileViT network is a strided stem convolution and five stages. Every stage is a row of inverted residuals;
the last three end in a MobileViT block, which holds the attention layers. Numbers and rounding rules are from
Mehta & Rastegari, arXiv:2206.02680 (MobileViTv2) and arXiv:2110.02178 (MobileViT, the first version), and
their reference implementation ml-cvnets.
"""

import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self, get_args

import yaml

from mvit2_search.arch.channels import expanded_channels, per_stage, round_channels, sequence, whole
from mvit2_search.errors import SpecError
from mvit2_search.system.text import printable
from mvit2_search.system.yaml import load

Attention = Literal["separable", "multi_head", "linformer"]
Family = Literal["mobilevitv2", "mobilevitv1"]
ChannelOrder = Literal["RGB", "BGR"]
_ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
_FAMILIES: tuple[Family, ...] = get_args(Family)

STAGES = 5
ATTENTION_STAGES = (3, 4, 5)
ATTENTION_HEADS = 4  # of multi-head attention and Linformer, as in MobileViT
LINFORMER_TOKENS = 256  # that keys and values are projected to, or all tokens where there are fewer

V1_SIZES = {  # expand ratio, stage channels, attention dimensions, channels before the pooling
    "xxs": (2, (16, 24, 48, 64, 80), (64, 80, 96), 320),
    "xs": (4, (32, 48, 64, 80, 96), (96, 120, 144), 384),
    "s": (4, (32, 64, 96, 128, 160), (144, 192, 240), 640),
}
_STEM, _STAGE_CHANNELS, _ATTENTION_DIMS = 32, (64, 128, 256, 384, 512), (128, 192, 256)  # at width 1

_PER_STAGE = ("stage_channels", "expanded_channels", "kernel_sizes")
_PER_BLOCK = ("attention_layers", "attention_dims", "ffn_dims", "attention", "patch_sizes")
_ABSENT_BLOCK = {"attention_dims": 0, "ffn_dims": 0, "attention": "separable", "patch_sizes": 2}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchConfig:
    """One network of the MobileViT family, every channel count as it is built.

    Counts are stored after rounding, so two width multipliers that round to the same network give equal
    configurations with the same key. `ArchConfig.mobilevitv2` does the rounding.

    Attributes:
        stem_channels: outputs of the first convolution (stride 2).
        stage_channels: outputs of stages 1 to 5 (strides 1, 2, 2, 2, 2).
        expanded_channels: for each stage, the inner width of each of its inverted residuals; as many
            entries as the stage has inverted residuals.
        kernel_sizes: 3 or 5, of the depth-wise convolutions of each stage.
        attention_layers: layers in the MobileViT block of stages 3 to 5; 0 leaves the block out.
        attention_dims: width of the tokens in stages 3 to 5.
        ffn_dims: inner width of the feed-forward networks in stages 3 to 5.
        attention: token mixer of stages 3 to 5. Linformer's projections are made for `image_size`.
        patch_sizes: side of the patches in stages 3 to 5, in positions of the feature map.
        image_size: side of the square input in pixels, for export and latency.
        family: which paper's block stages 3 to 5 end in. The first version's has a full convolution
            before the attention, LayerNorm and a convolution that fuses input and output.
        final_channels: outputs of a 1x1 convolution before the pooling; 0 where there is none.

    The settings of a block that is left out are stored as 0 or the published value, so that equal networks are
    equal. Defaults never change: keys leave out the settings that have them.

    Raises:
        SpecError: the settings describe no network.
    """

    stem_channels: int
    stage_channels: tuple[int, ...]
    expanded_channels: tuple[tuple[int, ...], ...]
    attention_dims: tuple[int, ...]
    attention_layers: tuple[int, ...]
    ffn_dims: tuple[int, ...]
    kernel_sizes: tuple[int, ...] = (3,) * STAGES
    attention: tuple[Attention, ...] = ("separable", "separable", "separable")
    patch_sizes: tuple[int, ...] = (2,) * len(ATTENTION_STAGES)
    image_size: int = 256
    family: Family = "mobilevitv2"
    final_channels: int = 0

    def __post_init__(self) -> None:
        for name in ("stem_channels", "image_size", "final_channels"):
            object.__setattr__(self, name, whole(name, getattr(self, name)))
        for names, length in ((_PER_STAGE, STAGES), (_PER_BLOCK, len(ATTENTION_STAGES))):
            for name in names:
                object.__setattr__(self, name, _values(name, getattr(self, name), length))
        for name, absent in _ABSENT_BLOCK.items():
            pairs = zip(getattr(self, name), self.attention_layers, strict=True)
            object.__setattr__(self, name, tuple(value if layers else absent for value, layers in pairs))
        self._check_values()

    def _check_values(self) -> None:
        positive = [self.stem_channels, *self.stage_channels, *sum(self.expanded_channels, ())]
        for dims in (self.attention_dims, self.ffn_dims):
            positive += [d for d, layers in zip(dims, self.attention_layers, strict=True) if layers]
        if min(positive) < 1 or min(*self.attention_layers, self.final_channels) < 0:
            raise SpecError("channel counts must be at least 1, attention_layers and final_channels at least 0")
        if empty := [i + 1 for i, row in enumerate(self.expanded_channels) if not row]:
            raise SpecError(f"expanded_channels: stage {empty[0]} needs at least one inverted residual")
        if odd := [k for k in self.kernel_sizes if k not in (3, 5)]:
            raise SpecError(f"kernel_sizes: expected 3 or 5, found {odd[0]}")
        self._check_attention()
        if self.family not in _FAMILIES:
            raise SpecError(f"family: expected one of {', '.join(_FAMILIES)}, found {self.family!r}")
        if min(self.patch_sizes) < 1 or self.image_size < 32:
            raise SpecError("patch_sizes must be at least 1 and image_size at least 32")

    def _check_attention(self) -> None:
        if unknown := [a for a in self.attention if a not in _ATTENTIONS]:
            raise SpecError(f"attention: expected one of {', '.join(_ATTENTIONS)}, found {unknown[0]!r}")
        for attention, dim in zip(self.attention, self.attention_dims, strict=True):
            if attention != "separable" and dim % ATTENTION_HEADS:
                raise SpecError(
                    f"attention_dims: {dim} is no multiple of the {ATTENTION_HEADS} heads of {attention} attention"
                )

    @classmethod
    def mobilevitv2(
        cls,
        width: float | Sequence[float] = 1.0,
        *,
        attention_width: float | Sequence[float] | None = None,
        attention_layers: int | Sequence[int] = (2, 4, 3),
        ffn_multiplier: float | Sequence[float] = 2.0,
        expand_ratio: float | Sequence[float] = 2.0,
        inverted_residuals: int | Sequence[int] = (1, 2, 1, 1, 1),
        kernel_size: int | Sequence[int] = 3,
        patch_size: int | Sequence[int] = 2,
        attention: Attention | Sequence[Attention] = "separable",
        image_size: int = 256,
    ) -> Self:
        """The published network at any width multiplier, or with other settings.

        Every setting takes one value, or one per stage: five for `width`, `expand_ratio`,
        `inverted_residuals` and `kernel_size`, three (stages 3 to 5) for the others.

        Args:
            width: multiplies the channels. The stem follows stage 1.
            attention_width: multiplies the attention dimensions; by default they follow `width`.
            ffn_multiplier: feed-forward width as a multiple of the attention dimension.
            expand_ratio: inner width of an inverted residual as a multiple of its input.

        Raises:
            SpecError: a value is out of range, or there are too few or too many.
        """
        widths = per_stage("width", width, STAGES)
        attention_widths = _per_block(
            "attention_width", widths[2:] if attention_width is None else attention_width
        )
        divisors = (16, 8, 8, 8, 8)
        channels = [round_channels(c * w, d) for c, w, d in zip(_STAGE_CHANNELS, widths, divisors, strict=True)]
        stem = round_channels(min(max(_STEM * widths[0], 16), 64), 8, lowest=16)
        dims = [round_channels(d * w, 8) for d, w in zip(_ATTENTION_DIMS, attention_widths, strict=True)]
        multipliers = _per_block("ffn_multiplier", ffn_multiplier)
        return cls(
            stem_channels=stem,
            stage_channels=tuple(channels),
            expanded_channels=expanded_channels(
                stem,
                channels,
                per_stage("inverted_residuals", inverted_residuals, STAGES),
                per_stage("expand_ratio", expand_ratio, STAGES),
            ),
            attention_dims=tuple(dims),
            attention_layers=_per_block("attention_layers", attention_layers),
            ffn_dims=tuple(math.floor(m * d / 16) * 16 for m, d in zip(multipliers, dims, strict=True)),
            kernel_sizes=per_stage("kernel_size", kernel_size, STAGES),
            attention=_per_block("attention", attention),
            patch_sizes=_per_block("patch_size", patch_size),
            image_size=image_size,
        )

    @classmethod
    def mobilevitv1(cls, size: str) -> Self:
        """The published network of the first version: `xxs`, `xs` or `s`; SpecError for another size."""
        if size not in V1_SIZES:
            raise SpecError(f"size {size!r}: expected one of {', '.join(V1_SIZES)}")
        ratio, channels, dims, final = V1_SIZES[size]
        return cls(
            stem_channels=16,
            stage_channels=channels,
            expanded_channels=expanded_channels(16, channels, (1, 3, 1, 1, 1), (ratio,) * STAGES),
            attention_dims=dims,
            attention_layers=(2, 4, 3),
            ffn_dims=tuple(2 * dim for dim in dims),
            attention=("multi_head", "multi_head", "multi_head"),
            family="mobilevitv1",
            final_channels=final,
        )

    @property
    def key(self) -> str:
        """Twelve hex digits that name this network: equal for equal networks, on every machine.

        Settings at their default are left out of the hash, so a setting added later changes no key.
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        settings = {name: value for name, value in values.items() if value != _DEFAULTS.get(name)}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def channel_order(self) -> ChannelOrder:
        """Of the input. The first version was trained on images as OpenCV reads them."""
        return "BGR" if self.family == "mobilevitv1" else "RGB"

    @property
    def input_convention(self) -> str:
        """The expected input, in words for exported files."""
        return f"{self.channel_order}, values in [0, 1], no mean or deviation taken off"

    @property
    def patch_rows(self) -> tuple[int, ...]:
        """Rows, and columns, of patches in stages 3 to 5 at `image_size`; 0 where there is no block."""
        side, rows = -(-self.image_size // 4), []
        for patch, layers in zip(self.patch_sizes, self.attention_layers, strict=True):
            side = -(-side // 2)
            rows.append(-(-side // patch) if layers else 0)
            if layers and self.family == "mobilevitv2":  # it does not shrink the stretched map again
                side = rows[-1] * patch
        return tuple(rows)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; `from_json` gives the same architecture back."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Raises SpecError, naming the key, for an unknown or missing one."""
        names = {f.name for f in fields(cls)}
        if unknown := sorted(row.keys() - names):
            raise SpecError(f"{unknown[0]}: unknown key; keys are {', '.join(sorted(names))}")
        if missing := sorted(names - _DEFAULTS.keys() - row.keys()):
            raise SpecError(f"{missing[0]}: missing")
        return cls(**row)


_DEFAULTS = {field.name: field.default for field in fields(ArchConfig) if field.default is not MISSING}


def _values(name: str, value: Any, length: int) -> tuple[Any, ...]:
    """A setting's values, checked and as a tuple."""
    values = sequence(name, value)
    if len(values) != length:
        raise SpecError(f"{name}: expected {length} values, one per stage, found {len(values)}")
    if name == "attention":
        return tuple(values)
    if name == "expanded_channels":
        return tuple(tuple(whole(name, v) for v in sequence(name, row)) for row in values)
    return tuple(whole(name, v) for v in values)


def _per_block(name: str, value: Any) -> tuple[Any, ...]:
    return per_stage(name, value, len(ATTENTION_STAGES))


def read_arch(path: Path) -> ArchConfig:
    """The architecture in a file that `arch_yaml` wrote, or one like it.

    Raises:
        SpecError: the file, with line and key where there is one, and what is wrong.
    """
    document = load(path)
    known = [field.name for field in fields(ArchConfig)]
    needed = [name for name in known if name not in _DEFAULTS]
    document.check_keys((), document.data, known=known, needed=needed)
    try:
        return ArchConfig.from_json(document.data)
    except SpecError as err:
        raise SpecError(f"{path}: {err}") from err


def arch_yaml(arch: ArchConfig, comments: list[str]) -> str:
    """The text of a file, each comment on a line of its own at the top."""
    head = "".join(f"# {printable(line)}\n" for line in comments)
    return head + yaml.safe_dump(arch.to_json(), sort_keys=False, default_flow_style=None)
