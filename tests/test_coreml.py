"""Core ML's half that runs anywhere, on constructed stand-ins, and the device itself on a Mac."""

import fcntl
import json
import os
import signal
import sys
import tempfile
import threading
import time
from collections import namedtuple
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import coreml_stand_in as constructed
from conftest import require_device
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import BackendUnavailable, MeasurementError, StorageError
from mvit2_search.export.mil.interpreter import run_mlpackage
from mvit2_search.export.mil.mlpackage import import_coremltools
from mvit2_search.export.untrained import export_model
from mvit2_search.measure.devices.coreml import device as coreml
from mvit2_search.measure.devices.coreml import process as worker
from mvit2_search.measure.devices.coreml.device import visit
from mvit2_search.measure.devices.coreml.worker import _input, work
from mvit2_search.measure.devices.registry import make_device
from mvit2_search.measure.protocol import TimingPlan
from mvit2_search.records import Artifact, CoreMLOptions
from mvit2_search.task.data.dataset import to_input
from test_devices import DeviceContract

PLAN = TimingPlan(warmup=1, pairs_per_visit=3, unit=2)
MAC = sys.platform == "darwin"


@pytest.fixture
def pair(tmp_path):
    """Two folders in the place of packages: the stand-ins never read them."""
    made = []
    for name in "cr":
        path = tmp_path / f"{name}.mlpackage"
        path.mkdir()
        (path / "Manifest.json").write_text("{}")
        made.append(
            Artifact(
                path=path,
                sha256=f"sha-of-{name}",
                format="mlpackage",
                precision="float16",
                input_name="image",
                input_shape=(1, 3, 8, 6),
                output_shape=(1, 5),
            )
        )
    return made


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's temporary folder of these tests."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    monkeypatch.setenv("MVIT2_TEST_SYSTEM_TMP", str(folder))
    monkeypatch.setenv("MVIT2_TEST_LOCK", str(tmp_path / "lock"))
    return folder


def left(temporary):
    """Files in the temporary folder and elsewhere, but for the packages and the lock of the tests."""
    files = [path for path in temporary.parent.rglob("*") if path.is_file() and path.name != "lock"]
    return sorted(path for path in files if path.parent.suffix != ".mlpackage" or path.is_relative_to(temporary))


def visited(pair, mode, **changes):
    settings = {"units": "CPU_AND_NE", "worker": (constructed.__file__, mode)} | changes
    return visit(*pair, PLAN, **settings)


def test_samples_come_back_from_another_process(pair, temporary):
    samples = visited(pair, "works")
    assert samples.candidate_ms == pytest.approx([(2_000_000 + i) / 1e6 for i in (3, 4, 6, 7, 9, 10)])
    assert samples.reference_ms == samples.candidate_ms
    assert (samples.unit, samples.load_ms) == (2, 250.0)
    assert samples.placement == (("CPU", 0.25), ("NeuralEngine", 0.75))
    assert left(temporary) == []


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("crash", "ended with exit code 3: libc.*uncaught exception"),
        ("kill", r"was ended by SIGKILL: \[espresso\] out of memory"),
        ("garbage", "gave no answer: what a library says"),
        ("none", "gave no answer: it said nothing"),
        ("other", "of something else than it was asked for"),
        ("refused", r"^c\.mlpackage: Core ML cannot load it: .*no such operator"),
    ],
)
def test_a_worker_that_fails_is_a_measurement_error_and_leaves_nothing(pair, temporary, mode, message):
    with pytest.raises(MeasurementError, match=message):
        visited(pair, mode)
    assert left(temporary) == []


@pytest.mark.slow
def test_a_worker_that_hangs_is_killed_with_its_children(pair, temporary, tmp_path):
    with pytest.raises(MeasurementError, match="no answer within 5 s and was stopped"):
        visited(pair, "hang", deadline_s=5)
    assert left(temporary) == []
    assert_free(tmp_path / "lock")


def test_ctrl_c_ends_the_worker_and_leaves_nothing(pair, temporary, tmp_path):
    def interrupt():
        while not ((tmp_path / "lock").is_file() and (tmp_path / "lock").read_text()):
            time.sleep(0.02)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(KeyboardInterrupt):
        visited(pair, "hang", deadline_s=100)
    assert left(temporary) == []
    assert_free(tmp_path / "lock")


def assert_free(path):
    """Nobody holds the lock that the worker and its child had; a killed process may take a moment."""
    assert path.read_text() == "held"
    with path.open() as lock:
        for _ in range(100):
            try:
                return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                time.sleep(0.05)
    pytest.fail("the worker's child lives on")


def test_files_of_processes_that_are_no_more_are_removed(pair, temporary):
    gone = temporary / "mvit2-coreml-4194305-abc"  # above Linux' and macOS' largest process id
    alive = temporary / f"mvit2-coreml-{os.getppid()}-abc"
    for folder in (gone, alive):
        folder.mkdir()
        (folder / "weights").write_text("")
    visited(pair, "works")
    assert left(temporary) == [alive / "weights"]


Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize(("size", "needed"), [(10, 500), (60_000_000, 1200)])
def test_a_full_disk_is_said_before_anything_is_written(pair, temporary, monkeypatch, size, needed):
    for artifact in pair:
        with (artifact.path / "weight.bin").open("wb") as file:
            file.truncate(size)
    monkeypatch.setattr(worker.shutil, "disk_usage", lambda path: Usage(10**12, 10**12 - 4e8, int(4e8)))
    with pytest.raises(StorageError, match=rf"temporary: 400 MB free, but .* needs {needed} MB"):
        visited(pair, "works")
    assert left(temporary) == []


def test_a_temporary_folder_that_takes_no_files_is_a_storage_error(pair, temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "missing"))
    with pytest.raises(StorageError, match="missing: cannot make a temporary folder"):
        visited(pair, "works")


def answer_of(pair, folder, load_model, load_plan=constructed.no_plan, **changes):
    candidate, reference = ({**asdict(one), "name": one.path.name, "path": str(one.path)} for one in pair)
    task = {"units": "ALL", "plan": asdict(PLAN), "candidate": candidate | changes, "reference": reference}
    (folder / "task.json").write_text(json.dumps(task))
    work(folder, load_model, load_plan)
    return json.loads((folder / "answer.json").read_text())


def loader(**settings):
    """Loads constructed models and keeps them."""
    models = []

    def load(path, units):
        models.append(constructed.ConstructedModel(path, units, **settings))
        return models[-1]

    return load, models


def test_both_packages_are_loaded_on_the_units_and_predict_in_turn(pair, tmp_path):
    load, models = loader()
    answer_of(pair, tmp_path, load)
    assert [(Path(model.path).name, model.units) for model in models] == [
        ("c.mlpackage", "ALL"),
        ("r.mlpackage", "ALL"),
    ]
    assert [len(model.given) for model in models] == [1 + 3 * 3] * 2


def test_without_compute_plans_the_placement_is_empty(pair, tmp_path):
    assert answer_of(pair, tmp_path, loader()[0])["samples"]["placement"] == []


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"first_ns": None}, "Core ML gave no duration for a prediction"),
        ({"load_duration_in_nano_seconds": None}, "Core ML gave no duration for loading"),
        ({"loads": False}, "c.mlpackage: Core ML cannot load it: This model was not loaded"),
        ({"refuses": RuntimeError("Error in predicting")}, "Core ML cannot run the network: Error in predicting"),
        ({"refuses": KeyError("image")}, "Core ML cannot run the network: 'image'"),
    ],
    ids=["no duration", "no load duration", "too new", "fails", "other input"],
)
def test_what_core_ml_refuses_is_answered_as_an_error(pair, tmp_path, settings, message):
    answer = answer_of(pair, tmp_path, loader(**settings)[0])
    assert answer["error"].startswith(message)
    assert "samples" not in answer


@pytest.mark.parametrize("precision", ["float16", "float32"])
def test_tensors_are_random_and_the_same_every_time(pair, tmp_path, precision):
    load, models = loader()
    answer_of(pair, tmp_path, load, precision=precision)
    x = models[0].given[0]["image"]
    assert (x.shape, x.dtype) == ((1, 3, 8, 6), precision)
    assert len(np.unique(x)) > 100
    assert 0 <= x.min() < 0.2 < 0.8 < x.max() <= 1
    assert all(np.array_equal(given["image"], x) for given in models[0].given)
    np.testing.assert_allclose(models[1].given[0]["image"], x, atol=1e-3)


def test_an_image_is_given_as_one(pair, tmp_path):
    load, models = loader()
    answer_of(pair, tmp_path, load, input_kind="image")
    image = models[0].given[0]["image"]
    assert isinstance(image, Image.Image)
    assert (image.mode, image.size) == ("RGB", (6, 8))  # width first
    assert np.asarray(image).max() > 200
    assert isinstance(models[1].given[0]["image"], np.ndarray)


def test_coremltools_itself_takes_the_image(pair):
    """`_verify_pil_image_modes` is what `predict` calls before Core ML has the input."""
    coremltools = pytest.importorskip("coremltools")
    spec = coremltools.proto.Model_pb2.Model()
    given = spec.description.input.add(name="image")
    given.type.imageType.colorSpace = coremltools.proto.FeatureTypes_pb2.ImageFeatureType.RGB
    model = coremltools.models.MLModel.__new__(coremltools.models.MLModel)
    model._spec = spec
    network = asdict(replace(pair[0], input_kind="image"))
    model._verify_pil_image_modes(_input(network))
    with pytest.raises(TypeError, match="must be of type PIL"):
        model._verify_pil_image_modes(_input(asdict(pair[0])))


def test_each_unit_is_one_of_core_mls():
    coremltools = pytest.importorskip("coremltools")
    assert sorted(coreml.COMPUTE_UNITS.values()) == sorted(coremltools.ComputeUnit.__members__)
    for units, name in coreml.COMPUTE_UNITS.items():
        assert make_device(f"coreml:{units}").passport().compute_units == name
    assert make_device("coreml").passport().compute_units == "ALL"


@pytest.mark.skipif(MAC, reason="a Mac has Core ML")
def test_core_ml_elsewhere_says_what_to_use_instead(pair):
    with pytest.raises(BackendUnavailable, match="only on macOS; use `device` host"):
        make_device("coreml").check()
    with pytest.raises(BackendUnavailable, match="only on macOS"):
        make_device("coreml").time(*pair, PLAN)


@pytest.mark.skipif(MAC, reason="a Mac's coremltools has its library")
def test_a_coremltools_without_its_library_is_named(monkeypatch):
    monkeypatch.setattr(coreml.platform, "system", lambda: "Darwin")
    with pytest.raises(BackendUnavailable, match=r"cannot reach Core ML: pip install .*--only-binary=coremltools"):
        make_device("coreml").check()
    monkeypatch.setattr(coreml.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(BackendUnavailable, match="coremltools is missing: pip install coremltools"):
        make_device("coreml").check()


def test_the_device_visits_on_its_units(pair, temporary, monkeypatch):
    asked = []
    monkeypatch.setattr(coreml.CoreMLDevice, "check", lambda self: None)
    monkeypatch.setattr(coreml, "visit", lambda *given, units: asked.append((given, units)) or "samples")
    assert make_device("coreml:gpu").time(*pair, PLAN) == "samples"
    assert asked == [((*pair, PLAN), "CPU_AND_GPU")]


@pytest.mark.slow
@pytest.mark.skipif(MAC, reason="here Core ML itself would be asked")
def test_the_real_worker_starts_and_says_what_is_missing(pair, temporary):
    """Through coremltools itself, up to the library that only macOS has."""
    with pytest.raises(MeasurementError, match=r"^c\.mlpackage: Core ML cannot load it"):
        visit(*pair, PLAN, units="ALL")
    assert left(temporary) == []


@pytest.mark.mac
class TestCoreMLDevice(DeviceContract):
    """Skipped elsewhere, by the fixture `device`."""

    @pytest.fixture(scope="class")
    @staticmethod
    def exported(tmp_path_factory):
        require_device("coreml")  # before the long exports
        folder = tmp_path_factory.mktemp("coreml")
        return [
            export_model(
                ArchConfig.mobilevitv2(0.25, image_size=s), folder, format="mlpackage", head=ClassifierHead(2)
            )
            for s in (96, 32)
        ]

    candidate = pytest.fixture(lambda self, device, exported: exported[0])
    reference = pytest.fixture(lambda self, device, exported: exported[1])

    @pytest.fixture(params=coreml.COMPUTE_UNITS)
    def device(self, request):
        return require_device(f"coreml:{request.param}")

    @pytest.fixture
    def broken(self, tmp_path, candidate):
        """A package without its program."""
        path = tmp_path / "broken.mlpackage"
        path.mkdir()
        (path / "Manifest.json").write_text("{}")
        return replace(candidate, sha256="broken", path=path)

    def test_operators_have_places_and_nothing_is_left(self, device, candidate, reference, temporary):
        samples = device.time(candidate, reference, self.plan)
        assert sum(share for _, share in samples.placement) == pytest.approx(1)
        assert left(temporary) == []


@pytest.mark.mac
@pytest.mark.parametrize("kind", ["tensor", "image"])
@pytest.mark.parametrize("arch", [ArchConfig.mobilevitv2(0.25, image_size=64), ArchConfig.mobilevitv1("xxs")])
def test_core_ml_gives_what_the_interpreter_gives(arch, kind, tmp_path):
    """The interpreter is the only proof elsewhere; here it is held to the real thing."""
    require_device("coreml:cpu")
    coremltools = import_coremltools()
    options = CoreMLOptions(input_kind=kind)
    artifact = export_model(arch, tmp_path, format="mlpackage", head=ClassifierHead(10), options=options)
    size = arch.image_size
    pixels = np.random.default_rng(0).integers(0, 256, (size, size, 3), dtype=np.uint8)
    x_1CHW = to_input(pixels[None], arch.channel_order).numpy()
    given = Image.fromarray(pixels) if kind == "image" else x_1CHW.astype(np.float16)
    model = coremltools.models.MLModel(str(artifact.path), compute_units=coremltools.ComputeUnit.CPU_ONLY)
    found = next(iter(model.predict({artifact.input_name: given}).values()))
    expected = run_mlpackage(artifact, x_1CHW)
    assert np.abs(found - expected).max() < 1e-2
