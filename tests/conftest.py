"""Fixtures that several test files use."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import mvit2_search.timer as timer
from exports import SMALL, exported
from fakes import fake_export
from mvit2_search.records import Artifact


def write_images(folder: Path, classes: dict[str, int], *, size: int = 12, ending: str = "png") -> Path:
    """One sub-folder per class with so many images of one colour each, plus noise."""
    rng = np.random.default_rng(0)
    for label, (name, count) in enumerate(classes.items()):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 40, (size, size, 3), dtype=np.uint8)
            pixels[..., label % 3] += 180
            Image.fromarray(pixels).save(folder / name / f"{i:04}.{ending}")
    return folder


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of twenty images in `tmp_path/images`."""
    return write_images(tmp_path / "images", {"blue": 20, "red": 20})


@pytest.fixture
def instant_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches write architectures where they would export networks."""
    monkeypatch.setattr(timer, "export_model", fake_export)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network with all three mixers, as a Core ML package. Not to be changed."""
    return exported(SMALL, tmp_path_factory.mktemp("package"))
