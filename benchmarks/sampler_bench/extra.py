"""What comes with the extra `bench`: imported when it is used, and missing with a remedy."""

import warnings
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mvit2_search.errors import BackendUnavailable

_REMEDY = "pip install 'mvit2-search[bench]'"


def bench_module(name: str) -> Any:
    """A module of a package of the extra.

    Raises:
        BackendUnavailable: the package is not installed.
    """
    try:
        with warnings.catch_warnings():  # BoTorch's own libraries use it while they are imported
            warnings.filterwarnings("ignore", message=".*torch.jit.script", category=DeprecationWarning)
            return import_module(name)
    except ModuleNotFoundError as err:
        raise BackendUnavailable(f"bench search: {name.partition('.')[0]} is missing: {_REMEDY}") from err


def version_of(package: str) -> str:
    """`botorch 0.18.1`.

    Raises:
        BackendUnavailable: the package is not installed.
    """
    try:
        return f"{package} {version(package)}"
    except PackageNotFoundError as err:
        raise BackendUnavailable(f"bench search: {package} is missing: {_REMEDY}") from err
