"""Images are in memory once, and what does not fit is refused before it is read."""

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

import mvit2_search.system.memory as memory
from conftest import write_images
from mvit2_search.errors import DataError
from mvit2_search.task.data import images, source
from mvit2_search.task.data.load import load_dataset


def peak_of_loading(data, size):
    """Bytes at the highest, over those of the pixels."""
    load_dataset(str(data), image_size=2, max_train=10_000)  # imports what Pillow imports late
    tracemalloc.start()
    loaded = load_dataset(str(data), image_size=size, max_train=10_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / sum(part.pixels_NSSC.nbytes for part in (loaded.train, loaded.selection, loaded.confirmation))


def test_loading_takes_the_memory_of_the_pixels(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 40, "b": 40})
    assert peak_of_loading(folder, 256) < 1.2  # 2.0 with every image decoded beside the array


@pytest.mark.slow
def test_skipped_images_take_no_second_array(tmp_path):
    folder = write_images(tmp_path / "images", {"a": 500, "b": 520}, size=2)
    (folder / "a" / "0003.png").write_bytes(b"broken")
    assert peak_of_loading(folder, 96) < 1.2


@pytest.mark.slow
def test_the_shipped_images_are_in_memory_once():
    assert peak_of_loading("fashion-mnist-mini", 84) < 1.5  # 0.2 of it for those of 28 pixels


@pytest.mark.slow
def test_what_opened_keeps_its_place_and_its_class(tmp_path):
    folder = write_images(tmp_path / "images", {"red": 800, "green": 800}, size=2)
    (folder / "red" / "0003.png").write_bytes(b"broken")
    data = load_dataset(str(folder), image_size=2, max_train=10_000)
    parts = (data.train, data.selection, data.confirmation)
    assert sum(map(len, parts)) == 1599
    for part in parts:
        assert (part.pixels_NSSC.mean((1, 2)).argmax(1) == 1 - part.labels_N).all()  # green is class 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("data", "size"), [("images", 30_000_000), ("fashion-mnist-mini", 100_000), ("images", 2**31)]
)
def test_images_that_do_not_fit_are_refused_with_the_sizes(tmp_path, run_on, data, size):
    write_images(tmp_path / "images", {"a": 5, "b": 5})
    result = run_on(data, "--image-size", str(size))
    assert result.exit_code == 4
    assert f"of {size} x {size} pixels take" in result.stderr
    assert "GB of memory" in result.stderr
    assert "free; use a smaller --image-size" in result.stderr
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


@pytest.mark.slow
def test_an_address_space_that_is_too_small_is_no_traceback(tmp_path):
    """Where the system promises more than a process may have."""
    write_images(tmp_path / "images", {"a": 20, "b": 20})
    code = (
        "import resource, sys, torch; from mvit2_search.search import driver; from mvit2_search.cli import cli\n"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 400_000_000, -1)); sys.argv[0] = 'mvit2-search'; cli()"
    )
    options = ["--space", "width", "--latency-budget", "12ms", "--study", "one", "--device", "estimate:iphone12"]
    command = [sys.executable, "-c", code, "run", "--data", "images", *options, "--image-size", "2500"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 4, done.stderr
    assert "40 images of 2500 x 2500 pixels take 750 MB of memory, more than this process may have" in done.stderr
    assert " free" not in done.stderr  # the system has more
    assert "Traceback" not in done.stderr


def test_memory_that_runs_out_while_decoding_is_no_broken_image(tmp_path, monkeypatch):
    def decode(*_):
        raise MemoryError

    monkeypatch.setattr(source, "decode", decode)
    with pytest.raises(DataError, match="20 images of 8 x 8 pixels take 0 MB of memory, more than"):
        load_dataset(str(write_images(tmp_path / "images", {"a": 10, "b": 10})), image_size=8, max_train=100)


def test_a_containers_limit_counts(tmp_path, monkeypatch):
    (tmp_path / "cgroup").write_text("0::/pod/one\n")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    whole = memory.free_bytes()
    group = tmp_path / "pod"
    (group / "one").mkdir(parents=True)
    for name, text in {"max": "5000000", "current": "4000000", "stat": "anon 1\ninactive_file 500000\n"}.items():
        (group / f"memory.{name}").write_text(text)
    (group / "one" / "memory.max").write_text("max\n")
    assert memory.free_bytes() == 1_500_000 < whole


@pytest.mark.parametrize("own", ["pod/one", ""])  # a container may see the host's path, or none
def test_a_containers_limit_under_the_first_version_counts(tmp_path, monkeypatch, own):
    (tmp_path / "cgroup").write_text(f"5:cpu,cpuacct:/other\n4:memory:/{own}\n1:name=systemd:/\n0::/init.scope\n")
    monkeypatch.setattr(memory, "_OWN", tmp_path / "cgroup")
    monkeypatch.setattr(memory, "_GROUPS", tmp_path)
    group = tmp_path / "memory" / own
    group.mkdir(parents=True)
    for name, text in {
        "limit_in_bytes": "5000000\n",
        "usage_in_bytes": "4000000\n",
        "stat": "inactive_file 7\ntotal_inactive_file 500000\n",
    }.items():
        (group / f"memory.{name}").write_text(text)
    assert memory.free_bytes() == 1_500_000


def test_where_the_system_tells_nothing_of_its_memory_nothing_is_refused(monkeypatch):
    """As on Windows."""
    monkeypatch.delattr(memory.os, "sysconf")
    monkeypatch.setattr(memory, "_SYSTEM", Path("gone"))
    monkeypatch.setattr(memory, "_GROUPS", Path("gone"))
    assert memory.free_bytes() is None
    assert images.pixel_array(2, 3, 1, name="x").shape == (2, 3, 3, 1)
    monkeypatch.setattr(images.np, "empty", raises_memory_error)
    with pytest.raises(DataError, match="more than this process may have"):
        images.pixel_array(2, 3, 1, name="x")


def raises_memory_error(*_):
    raise MemoryError


def test_free_memory_is_at_most_all_of_it():
    assert 0 < memory.free_bytes() <= memory.os.sysconf("SC_PHYS_PAGES") * memory.os.sysconf("SC_PAGE_SIZE")
    assert Path("/proc/meminfo").exists() or [memory.free_bytes()] == memory._system_bytes()


def test_arrays_hold_bytes():
    array = images.pixel_array(2, 3, 1, name="x")
    assert (array.shape, array.dtype) == ((2, 3, 3, 1), np.uint8)
