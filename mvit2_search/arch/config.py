"""What a candidate network *is*, as plain data. Never imports torch: see `models.build_model`.

A MobileViT network is a strided stem convolution and five stages. Every stage is a row of inverted
residuals; the last three end in a MobileViT block, which holds the attention layers. Numbers and
rounding rules: Mehta & Rastegari, arXiv:2206.02680 (MobileViTv2) and arXiv:2110.02178 (MobileViT, the
first version), and their reference implementation ml-cvnets.
"""

import hashlib
import json
import math
import operator
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, Self, cast, get_args

from mvit2_search.errors import SpecError

Attention = Literal["separable", "multi_head", "linformer"]
Family = Literal["mobilevitv2", "mobilevitv1"]
ChannelOrder = Literal["RGB", "BGR"]
_ATTENTIONS: tuple[Attention, ...] = get_args(Attention)
_FAMILIES: tuple[Family, ...] = get_args(Family)

STAGES = 5
ATTENTION_STAGES = (3, 4, 5)
ATTENTION_HEADS = 4  # of multi-head attention and Linformer, as in MobileViT
LINFORMER_TOKENS = 256  # that keys and values are projected to, or all tokens where there are fewer
PUBLISHED_WIDTHS = (0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0)

_STEM, _STAGE_CHANNELS, _ATTENTION_DIMS = 32, (64, 128, 256, 384, 512), (128, 192, 256)
_V1_SIZES = {  # expand ratio, stage channels, attention dimensions, channels before the pooling
    "xxs": (2, (16, 24, 48, 64, 80), (64, 80, 96), 320),
    "xs": (4, (32, 48, 64, 80, 96), (96, 120, 144), 384),
    "s": (4, (32, 64, 96, 128, 160), (144, 192, 240), 640),
}


@dataclass(frozen=True, kw_only=True, slots=True)
class ArchConfig:
    """One network of the MobileViT family, every channel count as it is built.

    Counts are stored after the divisor rounding, so two width multipliers that round to the same
    network are equal and have the same key. `ArchConfig.mobilevitv2` does the rounding.

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

    A stage without a block has no settings for one: they are stored as 0 or the published value, so
    that equal networks are equal.

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
            self._set(name, _whole(name, getattr(self, name)))
        for name in _WHOLE_PER_STAGE:
            self._set(name, tuple(_whole(name, v) for v in _sequence(name, getattr(self, name))))
        self._set("attention", tuple(_sequence("attention", self.attention)))
        rows = _sequence("expanded_channels", self.expanded_channels)
        name = "expanded_channels"
        self._set(name, tuple(tuple(_whole(name, v) for v in _sequence(name, row)) for row in rows))
        self._check_lengths()
        self._forget_absent_blocks()
        self._check_values()

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_lengths(self) -> None:
        for name, length in _LENGTHS.items():
            if len(getattr(self, name)) != length:
                found = len(getattr(self, name))
                raise SpecError(f"{name}: expected {length} values, one per stage, found {found}")

    def _forget_absent_blocks(self) -> None:
        """Settings of a block that is not there must not tell two equal networks apart."""
        for name, absent in (
            ("attention_dims", 0),
            ("ffn_dims", 0),
            ("attention", "separable"),
            ("patch_sizes", 2),
        ):
            pairs = zip(getattr(self, name), self.attention_layers, strict=True)
            self._set(name, tuple(value if layers else absent for value, layers in pairs))

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
        widths = _per_stage("width", width, STAGES)
        attention_widths = (
            widths[2:] if attention_width is None else _attention("attention_width", attention_width)
        )
        channels = [
            _round_div(c * w, 16 if i == 0 else 8)
            for i, (c, w) in enumerate(zip(_STAGE_CHANNELS, widths, strict=True))
        ]
        stem = _round_div(min(max(_STEM * widths[0], 16), 64), 8, lowest=16)
        dims = [_round_div(d * w, 8) for d, w in zip(_ATTENTION_DIMS, attention_widths, strict=True)]
        multipliers = _attention("ffn_multiplier", ffn_multiplier)
        return cls(
            stem_channels=stem,
            stage_channels=tuple(channels),
            expanded_channels=expanded_channels(
                stem,
                channels,
                _per_stage("inverted_residuals", inverted_residuals, STAGES),
                _per_stage("expand_ratio", expand_ratio, STAGES),
            ),
            attention_dims=tuple(dims),
            attention_layers=_attention("attention_layers", attention_layers),
            ffn_dims=tuple(math.floor(m * d / 16) * 16 for m, d in zip(multipliers, dims, strict=True)),
            kernel_sizes=_per_stage("kernel_size", kernel_size, STAGES),
            attention=_attention("attention", attention),
            patch_sizes=_attention("patch_size", patch_size),
            image_size=image_size,
        )

    @classmethod
    def mobilevitv1(cls, size: str) -> Self:
        """The published network of the first version: `xxs`, `xs` or `s`.

        Raises:
            SpecError: there is no such size.
        """
        if size not in _V1_SIZES:
            raise SpecError(f"size {size!r}: expected one of {', '.join(_V1_SIZES)}")
        ratio, channels, dims, final = _V1_SIZES[size]
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
        """Twelve hex digits naming this network: equal networks, equal keys, on every machine.

        Settings that equal the published block's are left out, so one added later changes no key.
        """
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        settings = {name: value for name, value in found.items() if value != _PUBLISHED.get(name)}
        text = json.dumps(settings, sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def channel_order(self) -> ChannelOrder:
        """Of the input: the first version was trained on images as OpenCV reads them."""
        return "BGR" if self.family == "mobilevitv1" else "RGB"

    @property
    def input_convention(self) -> str:
        """What the network takes, in words for exported files."""
        return f"{self.channel_order}, values in [0, 1], no mean or deviation taken off"

    @property
    def patch_rows(self) -> tuple[int, ...]:
        """Rows, and columns, of patches in stages 3 to 5 at `image_size`; 0 where there is no block."""
        side, found = -(-self.image_size // 4), []
        for patch, layers in zip(self.patch_sizes, self.attention_layers, strict=True):
            side = -(-side // 2)
            found.append(-(-side // patch) if layers else 0)
            if layers and self.family == "mobilevitv2":  # which leaves a stretched map as it is
                side = found[-1] * patch
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Plain lists and numbers; `from_json` gives the same architecture back."""
        return {k: _as_lists(v) for k, v in asdict(self).items()}

    @classmethod
    def from_json(cls, row: dict[str, Any]) -> Self:
        """Raises SpecError, naming the key, for an unknown or missing one."""
        names = {f.name for f in fields(cls)}
        if unknown := sorted(row.keys() - names):
            raise SpecError(f"{unknown[0]}: unknown key; keys are {', '.join(sorted(names))}")
        if missing := sorted(names - _PUBLISHED.keys() - row.keys()):
            raise SpecError(f"{missing[0]}: missing")
        return cls(**row)


_LENGTHS = {"stage_channels": STAGES, "expanded_channels": STAGES, "kernel_sizes": STAGES} | dict.fromkeys(
    ("attention_dims", "attention_layers", "ffn_dims", "attention", "patch_sizes"), len(ATTENTION_STAGES)
)
_WHOLE_PER_STAGE = tuple(name for name in _LENGTHS if name not in ("expanded_channels", "attention"))
_PUBLISHED = {
    f.name: f.default
    for f in fields(ArchConfig)
    if f.name in ("kernel_sizes", "attention", "patch_sizes", "image_size", "family", "final_channels")
}


def published_name(width: float) -> str:
    """`mobilevitv2-0.75`, the name of a published width in budgets, tables and reports."""
    return f"mobilevitv2-{width:g}" if width % 1 else f"mobilevitv2-{width:.1f}"


def published(name: str) -> ArchConfig:
    """The published network called `name`: `mobilevitv2-0.75`, `mobilevitv1-xs`.

    Raises:
        SpecError: there is none of that name; the message lists those there are.
    """
    networks = published_networks()
    if name not in networks:
        raise SpecError(f"{name!r}: expected one of {', '.join(networks)}")
    return networks[name]


def published_networks() -> dict[str, ArchConfig]:
    """All published networks by name, MobileViTv2 first."""
    second = {published_name(width): ArchConfig.mobilevitv2(width) for width in PUBLISHED_WIDTHS}
    return second | {f"mobilevitv1-{size}": ArchConfig.mobilevitv1(size) for size in _V1_SIZES}


def _round_div(value: float, divisor: int, lowest: int | None = None) -> int:
    """The nearest multiple of `divisor`, never more than a tenth below `value` (ml-cvnets' rule)."""
    rounded = max(lowest or divisor, int(value + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * value else rounded


def expanded_channels(
    stem: int, channels: Sequence[int], counts: Sequence[int], ratios: Sequence[float]
) -> tuple[tuple[int, ...], ...]:
    """Inner widths of the inverted residuals: `counts` of them and one ratio to the input, by stage."""
    rows = []
    for before, own, count, ratio in zip([stem, *channels], channels, counts, ratios, strict=False):
        inputs = [before] + [own] * (_whole("inverted_residuals", count) - 1)
        rows.append(tuple(_round_div(round(ratio * c), 8) for c in inputs))
    return tuple(rows)


def _per_stage(name: str, value: Any, length: int) -> tuple[Any, ...]:
    values = tuple(value) if _is_sequence(value) else (value,) * length
    if len(values) != length:
        raise SpecError(f"{name}: expected one value or {length}, one per stage, found {len(values)}")
    return values


def _attention(name: str, value: Any) -> tuple[Any, ...]:
    return _per_stage(name, value, len(ATTENTION_STAGES))


def _sequence(name: str, value: Any) -> Sequence[Any]:
    if not _is_sequence(value):
        raise SpecError(f"{name}: expected a list, found {value!r}")
    return cast(Sequence[Any], value)


def _is_sequence(value: Any) -> bool:
    """Lists and tuples first: a proposal asks this ten thousand times, and an abstract class answers slowly."""
    return type(value) in (tuple, list) or (isinstance(value, Sequence) and not isinstance(value, str))


def _whole(name: str, value: Any) -> int:
    if type(value) is int:
        return value
    try:
        if isinstance(value, bool):
            raise TypeError
        return operator.index(value)  # NumPy integers too
    except TypeError:
        raise SpecError(f"{name}: expected a whole number, found {value!r}") from None


def _as_lists(value: Any) -> Any:
    return [_as_lists(v) for v in value] if isinstance(value, tuple) else value
