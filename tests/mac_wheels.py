"""A package's macOS wheel on any system, to look into and never to run."""

import importlib.metadata
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

_LIMIT_S = 240


def mac_wheel(package: str, folder: Path, *, platform: str = "macosx_11_0_arm64") -> zipfile.ZipFile:
    """The macOS wheel of the installed version, downloaded to `folder`.

    Without a package index the test is skipped, or fails where MVIT2_REQUIRE_MAC_WHEELS is set.
    """
    wanted = f"{package}=={importlib.metadata.version(package)}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:", "--retries=1"]
    command += ["--platform", platform, "--python-version", "3.11", "--dest", str(folder), wanted]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_LIMIT_S)
    except subprocess.TimeoutExpired:
        _missing(f"{wanted} for macOS: no answer of the package index within {_LIMIT_S} s")
    if done.returncode and ("from versions: none" in done.stderr or "No module named pip" in done.stderr):
        _missing(f"{wanted} for macOS cannot be downloaded: {done.stderr.strip().splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    (path,) = folder.glob(f"{package.replace('-', '_')}-*.whl")
    return zipfile.ZipFile(path)


def _missing(reason: str) -> None:
    if "MVIT2_REQUIRE_MAC_WHEELS" in os.environ:
        pytest.fail(reason)
    pytest.skip(reason)
