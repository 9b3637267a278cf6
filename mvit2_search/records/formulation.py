"""The names of the ways to write down a network for a runtime; `models.formulations` has what they mean."""

from typing import Literal, get_args

FormulationName = Literal["rank5", "pixel_unshuffle", "layer_norm", "sum_first"]
FORMULATION_NAMES: tuple[FormulationName, ...] = get_args(FormulationName)
DEFAULT_FORMULATION: FormulationName = "pixel_unshuffle"
