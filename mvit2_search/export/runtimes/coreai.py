"""Core AI assets, run by Apple's runtime: the system's from macOS 27 on, elsewhere the package's own.

The package's own runs on the CPU and takes seconds per image: it checks numbers, and predicts no phone.

The protocols are the parts of Core AI's classes that are used, under their own names, from its
`authoring/asset.py` and `runtime/__init__.pyi`. Using anything else is a type error. Tests compare each member
with the package; where it is installed, mypy does too.
"""

import asyncio
import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from mvit2_search.errors import BackendUnavailable, MeasurementError, translated
from mvit2_search.export.runtimes import filtered_stderr
from mvit2_search.records import Artifact, Precision


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


FUNCTION = "main"
NOTES = ("ODIE [default]: Loading function", "torchao", "KernelPreference")

_PRECISIONS: dict[str, Precision] = {"Float16": "float16", "Float32": "float32"}
_SIGNATURE = re.compile(r"NDArray \((\w+), (\d+(?: \u00d7 \d+)*)\)")
_ARBITRARY = re.compile(r"\bresource_\d+\b|@\w+")  # names drawn anew by every conversion


def check_installed(*modules: str) -> None:
    """Raises BackendUnavailable where one of `modules` is not installed."""
    if not all(map(importlib.util.find_spec, modules)):
        raise BackendUnavailable("coreai: Core AI's packages are missing: pip install 'mvit2-search[coreai]'")


def describe(path: Path) -> Artifact:
    """What the asset in `path` is, as the file says; raises MeasurementError, or as `check_installed` does."""
    asset, summary = opened(path)
    with _reading(path):
        given, returned = summary.function_inputs(FUNCTION), summary.function_outputs(FUNCTION)
        program = str(asset.program)
    if (len(given), len(returned)) != (1, 1):
        raise MeasurementError(f"{path.name}: a network has one input and one output")
    (input_name, input_type), (_, output_type) = given[0], returned[0]
    precision, input_shape = _signature(path, input_type)
    return Artifact(
        path=path,
        sha256=_content_hash(program),
        format="aimodel",
        precision=precision,
        input_name=input_name,
        input_shape=input_shape,
        output_shape=_signature(path, output_type)[1],
        convention=_convention(path),
    )


def _convention(path: Path) -> str:
    """What the exporter says of the input, under the input's name in the metadata."""
    with _reading(path):
        metadata = json.loads((path / "metadata.json").read_text(encoding="utf-8"))
        return str(metadata.get("creatorDefinedMetadata", {}).get("image", ""))


def opened(path: Path) -> tuple[AIModelAsset, AIModelAssetSummary]:
    """The asset in `path` and its summary. Raises like `describe`.

    Apple's compiler ends the whole process on a program that it cannot parse; the summary only finds nothing.
    """
    check_installed("coreai")
    from coreai.authoring import AIModelAsset as InstalledAsset

    _check_intact(path)
    with _reading(path):
        asset = InstalledAsset.load(path)
        summary = asset.summary(include_statistics=False)
    if summary is None or FUNCTION not in summary.function_names:
        raise MeasurementError(f"{path.name}: Core AI finds no program in it")
    return asset, summary


def run(artifact: Artifact, inputs_NCHW: np.ndarray) -> np.ndarray:
    """What the saved asset returns for each sample, in the precision of its output. Raises like `describe`."""
    asset, _ = opened(artifact.path)
    samples = np.ascontiguousarray(inputs_NCHW, artifact.precision)
    with translated(f"{artifact.path.name}: Core AI cannot run it"), filtered_stderr(*NOTES):
        outputs: np.ndarray = in_thread(asyncio.run, _outputs(asset, artifact.input_name, samples))
    return outputs


def in_thread(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` on a thread of its own: a notebook runs an event loop in the one that it calls from."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(function, *args).result()


async def _outputs(asset: AIModelAsset, name: str, samples_NCHW: np.ndarray) -> np.ndarray:
    from coreai.runtime import NDArray as InstalledArray

    async with asset.executable() as model:
        function = model.load_function(FUNCTION)
        rows = []
        for x_CHW in samples_NCHW:
            output: NDArray
            (output,) = (await function({name: InstalledArray(x_CHW[None])})).values()
            rows.append(output.numpy().copy())  # the array is a view of memory of the runtime
        return np.concatenate(rows)


def _check_intact(path: Path) -> None:
    """A hash of the program's file lies beside it."""
    with _reading(path):
        program, expected = (path / "main.mlirb").read_bytes(), (path / "main.hash").read_bytes()
    if hashlib.sha256(program).digest() != expected:
        raise MeasurementError(f"{path.name}: the program is damaged: it does not match main.hash")


def _content_hash(program: str) -> str:
    """Of a program in MLIR's text form, weights included. Arbitrary names are numbered as they appear."""
    numbers: dict[str, str] = {}
    numbered = _ARBITRARY.sub(lambda name: numbers.setdefault(name[0], f"@{len(numbers)}"), program)
    return hashlib.sha256(numbered.encode()).hexdigest()


def _signature(path: Path, described: str) -> tuple[Precision, tuple[int, ...]]:
    """Taken apart: `NDArray (Float16, 1 x 3 x 64 x 64)`, with multiplication signs."""
    found = _SIGNATURE.fullmatch(described)
    if found is None or found[1] not in _PRECISIONS:
        raise MeasurementError(f"{path.name}: expected an array of floats, found {described}")
    return _PRECISIONS[found[1]], tuple(map(int, re.findall(r"\d+", found[2])))


def _reading(path: Path) -> AbstractContextManager[None]:
    return translated(f"{path.name}: Core AI cannot read it")
