"""The images of a folder in WebDataset shards, and saved by Hugging Face's `datasets`."""

import tarfile
from io import BytesIO
from pathlib import Path

import torch

from mvit2_search.records import Recipe
from mvit2_search.train.loader import Steps, batches


def classes_below(part: Path) -> list[Path]:
    return sorted(path for path in part.iterdir() if path.is_dir())


def images_below(part: Path) -> list[tuple[int, Path]]:
    """The number of the class and the path of each image, classes mixed as shards are."""
    found = [(i, path) for i, folder in enumerate(classes_below(part)) for path in folder.iterdir()]
    return sorted(found, key=lambda one: (one[1].stem[::-1], one[0]))


def write_tar(path: Path, files: dict[str, bytes]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, BytesIO(data))
    return path


def write_shards(part: Path, folder: Path, start: str = "", *, per_shard: int = 7) -> None:
    """Tar files `{start}000.tar` and so on, of the images of a folder of class folders."""
    images = images_below(part)
    for at in range(0, len(images), per_shard):
        files = {}
        for number, path in images[at : at + per_shard]:
            key = f"{path.parent.name}_{path.stem}"
            files |= {f"{key}{path.suffix}": path.read_bytes(), f"{key}.cls": b"%d" % number}
        write_tar(folder / f"{start}{at // per_shard:03}.tar", files)


def table(part: Path, *, by_path: bool = False):
    """As `datasets` has it: rows of an image, as its file or the path to it, and its class."""
    from datasets import ClassLabel, Dataset, Features, Image

    images = images_below(part)
    data = {
        "image": [{"bytes": None if by_path else path.read_bytes(), "path": str(path)} for _, path in images],
        "label": [number for number, _ in images],
    }
    names = [path.name for path in classes_below(part)]
    return Dataset.from_dict(data, features=Features({"image": Image(), "label": ClassLabel(names=names)}))


def assert_workers_change_nothing(images):
    """`images` opens those to train on, of a short side, anew. Two workers, and a start in the middle."""
    recipe = Recipe(image_size=32, images_per_epoch=None, batch_size=4)

    def loaded(start=0, *, workers=0):
        steps = Steps(images(recipe.source_size), recipe, seed=0)
        return list(batches(steps, start, 6, workers=workers))

    expected = loaded()
    for found, wanted in ((loaded(workers=2), expected), (loaded(3, workers=2), expected[3:])):
        assert len(found) == len(wanted)
        for one, other in zip(found, wanted, strict=True):
            assert all(map(torch.equal, one, other))
