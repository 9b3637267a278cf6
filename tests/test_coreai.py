"""Core AI assets: Apple's runtime computes from the saved file what torch computes from the network."""

import asyncio
import hashlib
import platform
import shutil
from dataclasses import replace

import pytest
import torch
from torch import nn

from conftest import need_device
from exports import ONE, ONE_FIRST, OTHER_MIXERS, Tiny, exported, images, in_another_process, worst
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import BackendUnavailable, MeasurementError
from mvit2_search.export.coreai import export_coreai
from mvit2_search.export.runtimes.coreai import describe, run
from mvit2_search.export.untrained import untrained_network
from mvit2_search.measure.devices.coreai import CoreAIDevice
from mvit2_search.measure.devices.registry import make_device
from mvit2_search.models import formulated
from mvit2_search.records import FORMULATION_NAMES, Artifact
from test_devices import DeviceContract

pytestmark = pytest.mark.slow

need_device("coreai", "coreai", "coreai_torch")

GATES = {"float32": 1e-4, "float16": 1e-2}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    folder = tmp_path_factory.mktemp("aimodel")
    return export_coreai(Tiny(), folder / "a.aimodel", (1, 3, 16, 16), "RGB, as it comes", "float32")


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_the_saved_asset_computes_what_torch_computes(tmp_path, precision):
    artifact = export_coreai(Tiny(), tmp_path / "a.aimodel", (1, 3, 16, 16), "RGB", precision)
    assert artifact.precision == precision
    assert worst(run, artifact, Tiny(), 16) < GATES[precision]
    assert worst(run, artifact, Tiny(1.1), 16) > GATES[precision]


def test_the_file_says_what_it_is(tiny):
    assert describe(tiny.path) == tiny
    assert (tiny.format, tiny.precision, tiny.input_name) == ("aimodel", "float32", "image")
    assert (tiny.input_shape, tiny.output_shape) == ((1, 3, 16, 16), (1, 8))
    assert '"image" : "RGB, as it comes"' in (tiny.path / "metadata.json").read_text()


def test_the_hash_is_of_the_content(tmp_path, tiny):
    again = export_coreai(Tiny(), tmp_path / "b.aimodel", (1, 3, 16, 16), "BGR", "float32")
    assert (again.path / "main.mlirb").read_bytes() != (tiny.path / "main.mlirb").read_bytes()
    others = [
        export_coreai(Tiny(1.0001), tmp_path / "c.aimodel", (1, 3, 16, 16), "RGB", "float32"),
        export_coreai(Tiny(), tmp_path / "d.aimodel", (1, 3, 20, 20), "RGB", "float32"),
        export_coreai(Tiny(), tmp_path / "e.aimodel", (1, 3, 16, 16), "RGB", "float16"),
    ]
    assert again.sha256 == tiny.sha256
    assert len({tiny.sha256, *(other.sha256 for other in others)}) == 4


def test_the_network_that_is_exported_stays_as_it_is(tmp_path):
    model = Tiny()
    export_coreai(model, tmp_path / "a.aimodel", (1, 3, 16, 16), "RGB", "float16")
    assert {parameter.dtype for parameter in model.parameters()} == {torch.float32}


def nothing_is_there(path):
    shutil.rmtree(path)


def the_program_is_missing(path):
    (path / "main.mlirb").unlink()


def the_program_is_cut_short(path):
    program = path / "main.mlirb"
    program.write_bytes(program.read_bytes()[:1000])


def one_bit_is_wrong(path):
    program = bytearray((path / "main.mlirb").read_bytes())
    program[len(program) // 2] ^= 1
    (path / "main.mlirb").write_bytes(program)


def the_program_is_no_program(path):
    (path / "main.mlirb").write_bytes(b"no program")
    (path / "main.hash").write_bytes(hashlib.sha256(b"no program").digest())


def the_metadata_is_damaged(path):
    (path / "metadata.json").write_text("{")


@pytest.mark.parametrize(
    "damage",
    [
        nothing_is_there,
        the_program_is_missing,
        the_program_is_cut_short,
        one_bit_is_wrong,
        the_program_is_no_program,
        the_metadata_is_damaged,
    ],
)
def test_a_damaged_asset_is_refused(tmp_path, tiny, damage):
    path = tmp_path / "damaged.aimodel"
    shutil.copytree(tiny.path, path)
    damage(path)
    with pytest.raises(MeasurementError, match=r"damaged\.aimodel: "):
        describe(path)
    with pytest.raises(MeasurementError, match=r"damaged\.aimodel: "):
        run(replace(tiny, path=path), images(16))


def test_inputs_of_another_shape_or_name_are_refused(tiny):
    with pytest.raises(MeasurementError, match="cannot run it"):
        run(tiny, images(20))
    with pytest.raises(MeasurementError, match="other"):
        run(replace(tiny, input_name="other"), images(16))


def test_what_cannot_be_exported_is_a_measurement_error(tmp_path):
    class Odd(nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(MeasurementError, match="Core AI export failed"):
        export_coreai(Odd(), tmp_path / "a.aimodel", (1, 3, 16, 16), "RGB")


def test_a_missing_package_is_named(monkeypatch, tiny):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    for use in (lambda: describe(tiny.path), lambda: run(tiny, images(16))):
        with pytest.raises(BackendUnavailable, match=r"pip install 'mvit2-search\[coreai\]'"):
            use()


SCRIPT = f"""
import sys
from pathlib import Path
from mvit2_search.arch.config import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.export.untrained import export_model
from mvit2_search.export.runtimes.coreai import run
import numpy as np
made = export_model({OTHER_MIXERS}, Path(sys.argv[1]), format="aimodel", head=ClassifierHead(4))
run(made, np.zeros((1, 3, 64, 64), np.float32))
print(made.sha256)
"""


@pytest.mark.slow
def test_other_processes_export_the_same_and_are_quiet(tmp_path):
    here = exported(OTHER_MIXERS, tmp_path / "here", format="aimodel")
    assert in_another_process(SCRIPT, tmp_path) == ([here.sha256], "")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arch", "formulation", "precision"),
    [
        *((ONE, name, "float32") for name in FORMULATION_NAMES),
        (OTHER_MIXERS, "pixel_unshuffle", "float32"),
        (ONE_FIRST, "pixel_unshuffle", "float32"),
        (ONE, "pixel_unshuffle", "float16"),
    ],
    ids=[*FORMULATION_NAMES, "the other mixers", "first version", "half precision"],
)
def test_every_network_computes_what_torch_computes(tmp_path, arch, formulation, precision):
    model = untrained_network(arch, ClassifierHead(10)).eval()
    artifact = export_coreai(
        formulated(model, formulation).eval(), tmp_path / "a.aimodel", (1, 3, 64, 64), "RGB", precision
    )
    assert worst(run, artifact, model, 64) < GATES[precision]


def on_macos(monkeypatch, release):
    monkeypatch.setattr(platform, "system", lambda: "Darwin")
    monkeypatch.setattr(platform, "mac_ver", lambda: (release, ("", "", ""), "arm64"))


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac may have Core AI")
def test_the_device_is_refused_off_macos_27_with_the_remedy(monkeypatch, tiny):
    with pytest.raises(BackendUnavailable, match=r"from macOS 27 on; use `device` coreml .* `device` host"):
        make_device("coreai").check()
    with pytest.raises(BackendUnavailable, match="from macOS 27 on"):
        make_device("coreai").time(tiny, tiny, DeviceContract.plan)
    on_macos(monkeypatch, "26.4")
    with pytest.raises(BackendUnavailable, match="from macOS 27 on"):
        make_device("coreai").check()
    on_macos(monkeypatch, "27.0")  # and Core AI's packages, which see what system it is, use their own runtime
    with pytest.raises(BackendUnavailable, match="unset USE_LOCAL_COREAI"):
        make_device("coreai").check()


class TestCoreAIDevice(DeviceContract):
    """Everything but the choice of compute units: the package's own runtime stands in for the system's."""

    @pytest.fixture
    def device(self, monkeypatch):
        device = make_device("coreai")
        try:
            device.check()
        except BackendUnavailable:  # no macOS 27: the package's own runtime then
            monkeypatch.setattr(CoreAIDevice, "check", lambda self: None)
        return device

    candidate = pytest.fixture(lambda self, tiny: tiny)
    reference = pytest.fixture(lambda self, tiny: tiny)
    broken = pytest.fixture(lambda self, tiny, tmp_path: replace(tiny, path=tmp_path / "broken.aimodel"))

    def test_an_input_of_another_name_is_a_measurement_error(self, device, tiny):
        with pytest.raises(MeasurementError, match="cannot run the network"):
            device.time(replace(tiny, input_name="other"), tiny, self.plan)

    def test_it_runs_where_an_event_loop_runs(self, device, tiny):
        async def notebook() -> Artifact:
            return device.time(tiny, tiny, self.plan)

        assert len(asyncio.run(notebook()).candidate_ms) == 3
