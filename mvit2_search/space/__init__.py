"""Search spaces: what may vary, read from YAML, and the architectures that result."""

from mvit2_search.space.space import (
    Axis,
    Choices,
    Params,
    Range,
    SearchSpace,
    Value,
    draw_networks,
    draw_params,
    draw_up_to,
)
from mvit2_search.space.yaml import find_space, load_space, shipped_spaces

__all__ = [
    "Axis",
    "Choices",
    "Params",
    "Range",
    "SearchSpace",
    "Value",
    "draw_networks",
    "draw_params",
    "draw_up_to",
    "find_space",
    "load_space",
    "shipped_spaces",
]
