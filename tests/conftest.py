"""Fixtures that several test files use.

`MVIT2_REQUIRE_DEVICES=host,coreml` names devices that must be there: their tests fail instead of being skipped.
"""

import importlib.util
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory
from click.testing import CliRunner, Result
from PIL import Image

import mvit2_search.measure.bench as measure_bench
import mvit2_search.measure.timer as timer
import mvit2_search.search.driver as driver
import mvit2_search.search.tools as tools
from exports import SMALL, exported
from fakes import FormulaProxy, fake_exporter, macs_device
from formula_devices import formula_devices
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable
from mvit2_search.export.untrained import Exporter
from mvit2_search.measure.devices.registry import DEVICES, make_device
from mvit2_search.measure.protocol import Device
from mvit2_search.measure.timer import open_timer
from mvit2_search.records import DEFAULT_FORMULATION, Artifact
from mvit2_search.store import lease
from mvit2_search.train.proxies import Proxy


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


def required_devices() -> set[str]:
    """What MVIT2_REQUIRE_DEVICES lists: keys of `DEVICES`."""
    return {name.strip() for name in os.environ.get("MVIT2_REQUIRE_DEVICES", "").split(",") if name.strip()}


def require_device(name: str) -> Device:
    """The device `name`; where it is not there, the test is skipped, or fails if the device is required."""
    device = make_device(name)
    try:
        device.check()
    except BackendUnavailable as err:
        if name.partition(":")[0] in required_devices():
            pytest.fail(f"MVIT2_REQUIRE_DEVICES lists it: {err}")
        pytest.skip(str(err))
    return device


def pytest_configure() -> None:
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a shell's background jobs inherit that it is ignored
    if unknown := sorted(required_devices() - DEVICES.keys()):
        raise pytest.UsageError(f"MVIT2_REQUIRE_DEVICES: {unknown[0]!r}: expected {', '.join(DEVICES)}")


@pytest.hookimpl(wrapper=True, tryfirst=True)  # groups before xdist looks for them, the order after all others
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Slow tests of one file run in one process, where there are several: they share fixtures.

    So do all that time real networks: they would wait for each other, and take longest, so they come first.
    """
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("xdist_group"):
            times = "timed" in getattr(item, "fixturenames", ())
            item.add_marker(pytest.mark.xdist_group("timing" if times else item.path.stem))
    yield
    groups = [mark.args[0] if (mark := item.get_closest_marker("xdist_group")) else "" for item in items]
    counts = Counter(groups) | {"timing": len(items), "": 0}
    order = sorted(range(len(items)), key=lambda i: (-counts[groups[i]], groups[i]))
    items[:] = [items[i] for i in order]


def need_device(name: str, *modules: str) -> None:
    """Skip a test file where a package is missing; fail it if MVIT2_REQUIRE_DEVICES names the device."""
    if absent := [module for module in modules if importlib.util.find_spec(module) is None]:
        why = f"{name}: not installed: {', '.join(absent)}"
        if name in required_devices():
            raise ImportError(why)
        pytest.skip(why, allow_module_level=True)


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> None:
    """What a test times waits for nobody: scripted devices take no time, and others stand in one group."""
    path = tmp_path_factory.getbasetemp() / "timing.lock"
    monkeypatch.setattr(lease, "device_lock_path", lambda key: path)


@pytest.fixture(autouse=True, scope="session")
def migrations_read_once() -> Iterator[None]:
    """Optuna has thirty scripts of migrations read anew for every database that is opened."""
    read = ScriptDirectory.from_config
    known: dict[str | None, ScriptDirectory] = {}

    def from_config(config: Config) -> ScriptDirectory:
        location = config.get_main_option("script_location")
        if location not in known:
            known[location] = read(config)
        return known[location]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ScriptDirectory, "from_config", from_config)
        yield


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Two classes of twenty images in `tmp_path/images`."""
    return write_images(tmp_path / "images", {"blue": 20, "red": 20})


@pytest.fixture
def run_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`mvit2-search run` on a folder of images, with nothing to time and a formula instead of a training."""
    monkeypatch.setattr(tools, "ShortTrain", lambda *_, **__: FormulaProxy())
    monkeypatch.chdir(tmp_path)

    def invoke(data: Path | str, *more: str) -> Result:
        options = ["--space", "width", "--latency-budget", "mobilevitv2-0.75", "--study", "one", "--trials", "1"]
        command = ["run", "--data", str(data), "--device", "estimate:iphone12", *options, *more]
        return CliRunner().invoke(cli, command)

    return invoke


@pytest.fixture
def instant_export(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands write architectures where they would export networks."""
    monkeypatch.setattr(driver, "run_search", partial(driver.run_search, exporter=fake_exporter))
    for module in (timer, measure_bench):
        monkeypatch.setattr(module, "open_timer", partial(open_timer, exporter=fake_exporter))


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """`macs`, `elements` and `mixed` are names of devices; what they do may be set."""
    return formula_devices(monkeypatch)


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """A small network with all three mixers, as a Core ML package. Not to be changed."""
    return exported(SMALL, tmp_path_factory.mktemp("package"))


@pytest.fixture(scope="session")
def timed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is known of this computer: finding it out takes whatever times networks half a minute."""
    results = tmp_path_factory.mktemp("timed")
    with open_timer(make_device("host"), results=results, head=ClassifierHead(2), formulation=DEFAULT_FORMULATION):
        pass
    return results / ".latencies"


@pytest.fixture
def run_with_fakes(tmp_path: Path, images: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """`mvit2-search run` as it is typed, on a device and with a proxy that are given."""

    def run(
        *arguments: str,
        device: Device | None = None,
        proxy: Proxy | None = None,
        exporter: Exporter = fake_exporter,
        flags: tuple[str, ...] = (),
    ) -> Result:
        given = {"source": device or macs_device(), "proxy": proxy or FormulaProxy(), "exporter": exporter}
        monkeypatch.setattr(driver, "run_search", partial(driver.run_search, **given))
        usual = {
            "--space": "blocks",
            "--data": str(images),
            "--latency-budget": "mobilevitv2-0.75",
            "--study": "test",
            "--results": str(tmp_path / "results"),
            "--trials": "4",
            "--confirm-seeds": "2",
            "--stopping": "none",
        }
        asked = usual | dict(zip(arguments[::2], arguments[1::2], strict=True))
        return CliRunner().invoke(cli, ["run", *(word for pair in asked.items() for word in pair), *flags])

    return run


@pytest.fixture
def resume(run_with_fakes: Callable[..., Result]) -> Callable[..., Result]:
    """`mvit2-search run` for the study of `fakes.request`, on a formula."""
    return partial(run_with_fakes, "--image-size", "32")


@pytest.fixture(scope="session")
def finished_results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for a finished study, which `damaged_studies.a_finished_study` copies; made once."""
    folder = tmp_path_factory.mktemp("finished")
    write_images(folder / "images", {"blue": 20, "red": 20})
    return folder
