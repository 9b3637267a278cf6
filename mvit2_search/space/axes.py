"""The settings that a space may move: each is an argument of `ArchConfig.mobilevitv2`."""

from dataclasses import dataclass
from typing import get_args

from mvit2_search.arch import ATTENTION_STAGES, STAGES, Attention

Value = float | int | str

_ALL = tuple(range(1, STAGES + 1))


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """What values one setting takes.

    `published` holds the value of MobileViTv2 in each stage of `stages` (empty: one for the network),
    None where it is another setting's value.
    """

    kind: type[float] | type[int] | type[str]
    stages: tuple[int, ...]
    published: tuple[Value | None, ...]
    low: float = 0
    high: float = 0
    options: tuple[Value, ...] = ()  # where only these are allowed

    def problem(self, value: object) -> str | None:
        """What is wrong with `value`, or None."""
        if self.options:
            listed = ", ".join(map(str, self.options))
            return (
                None
                if value in self.options and type(value) is self.kind
                else f"expected one of {listed}, found {value!r}"
            )
        if self.kind is int and type(value) is not int:
            return f"expected a whole number, found {value!r}"
        if type(value) not in (int, float):  # a bool is no number; YAML 1.1 reads 1e-3 as a string
            return f"expected a number such as 0.5, found {value!r}"
        if not self.low <= value <= self.high:  # type: ignore[operator]  # NaN fails here too
            return f"expected a value from {self.low:g} to {self.high:g}, found {value!r}"
        return None


SETTINGS: dict[str, Setting] = {
    "width": Setting(kind=float, stages=_ALL, published=(1.0,) * 5, low=0.1, high=4),
    "attention_width": Setting(kind=float, stages=ATTENTION_STAGES, published=(None,) * 3, low=0.1, high=4),
    "attention_layers": Setting(kind=int, stages=ATTENTION_STAGES, published=(2, 4, 3), low=0, high=16),
    "ffn_multiplier": Setting(kind=float, stages=ATTENTION_STAGES, published=(2.0,) * 3, low=0.5, high=8),
    "expand_ratio": Setting(kind=float, stages=_ALL, published=(2.0,) * 5, low=0.5, high=8),
    "inverted_residuals": Setting(kind=int, stages=_ALL, published=(1, 2, 1, 1, 1), low=1, high=8),
    "kernel_size": Setting(kind=int, stages=_ALL, published=(3,) * 5, options=(3, 5)),
    "patch_size": Setting(kind=int, stages=ATTENTION_STAGES, published=(2,) * 3, low=1, high=8),
    "attention": Setting(
        kind=str, stages=ATTENTION_STAGES, published=("separable",) * 3, options=get_args(Attention)
    ),
    "image_size": Setting(kind=int, stages=(), published=(256,), low=32, high=1024),
}
