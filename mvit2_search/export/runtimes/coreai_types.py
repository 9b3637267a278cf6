"""The parts of Core AI's classes that are used, under their own names.

Tests compare each member with the package, so using anything else is a type error. The classes are described in
Core AI's `authoring/asset.py` and `runtime/__init__.pyi`; where the package is installed, mypy compares the two.
"""

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np


class NDArray(Protocol):
    """An array of the runtime; `numpy` is a view of its memory."""

    def numpy(self) -> np.ndarray: ...


class InferenceFunction(Protocol):
    """A loaded network. It takes and gives an `NDArray` for each name; where it was made for images, images."""

    async def __call__(self, inputs: dict[str, Any]) -> Mapping[str, Any]: ...


class AIModel(Protocol):
    def load_function(self, function_name: str) -> InferenceFunction: ...


class AIModelAssetSummary(Protocol):
    """Inputs and outputs are pairs of a name and a description of the type."""

    @property
    def function_names(self) -> Sequence[str]: ...
    def function_inputs(self, function_name: str) -> Sequence[tuple[str, str]]: ...
    def function_outputs(self, function_name: str) -> Sequence[tuple[str, str]]: ...


class AIModelAsset(Protocol):
    """A saved network. Its `program` becomes text by `str`; there is no summary of one that cannot be parsed."""

    @property
    def program(self) -> object: ...
    def summary(self, *, include_statistics: bool = True) -> AIModelAssetSummary | None: ...
    def executable(self, specialization_options: Any = None) -> AbstractAsyncContextManager[AIModel]: ...


class AIProgram(Protocol):
    """A network that is converted and not yet saved. The metadata are an `AIModelAssetMetadata`."""

    def save_asset(self, path: Path, metadata: Any = None) -> object: ...
