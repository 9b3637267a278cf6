"""The names of devices, and the contract that every device keeps."""

import platform
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from timing_plan import scripted_artifact

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.untrained import export_model
from mvit2_search.measure.devices.coreml.device import CoreMLDevice
from mvit2_search.measure.devices.cpu import HostDevice
from mvit2_search.measure.devices.registry import DeviceAddress, default_device, device_names, make_device
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.measure.protocol import THIS_COMPUTER, TimingPlan


def test_devices_have_names():
    assert isinstance(make_device("host"), HostDevice)
    assert isinstance(make_device("auto"), CoreMLDevice if platform.system() == "Darwin" else HostDevice)
    assert make_device("coreml:ne").passport
    assert default_device() in ("host", "coreml")
    with_units = ["coreml", *(f"coreml:{unit}" for unit in ("all", "cpu", "gpu", "ne"))]
    assert device_names() == ["host", "executorch", *with_units, "coreai"]


@pytest.mark.parametrize(
    "name",
    ["scripted", "coreml:tpu", "host:cpu", "host:", "", ":", "agent:http://mac.local:8710", "iphone:MyPhone"],
)
def test_an_unknown_device_is_refused_with_those_that_exist(name):
    with pytest.raises(SpecError, match=r"expected auto, host, executorch, coreml, coreml:all, .*coreai"):
        make_device(name)


@pytest.mark.parametrize(
    ("text", "kind", "option"),
    [
        ("host", "host", None),
        ("coreml:ne", "coreml", "ne"),
        ("agent:http://mac.local:8710", "agent", "http://mac.local:8710"),
        ("iphone:MyPhone", "iphone", "MyPhone"),
    ],
)
def test_an_address_is_a_kind_and_what_follows_the_first_colon(text, kind, option):
    assert DeviceAddress.parse(text) == DeviceAddress(kind=kind, option=option)


@given(st.text())
def test_an_address_is_printed_as_it_was_read(text):
    assert str(DeviceAddress.parse(text)) == text


class DeviceContract:
    """What every device promises; a subclass gives `device`, `candidate`, `reference` and `broken`."""

    plan = TimingPlan(warmup=1, pairs_per_visit=3)

    def test_samples_are_positive_and_paired(self, device, candidate, reference):
        device.check()
        samples = device.time(candidate, reference, self.plan)
        assert len(samples.candidate_ms) == len(samples.reference_ms) == 3
        assert min(samples.candidate_ms + samples.reference_ms) > 0
        assert samples.load_ms >= 0

    def test_it_runs_on_this_computer_and_shares_its_lease(self, device):
        assert device.lease == THIS_COMPUTER

    def test_the_passport_is_its_own_and_stays(self, device):
        passport = device.passport()
        assert passport == device.passport()
        assert passport.device
        assert passport.chip

    @pytest.mark.slow
    def test_a_broken_artifact_is_refused_and_the_device_goes_on(self, device, candidate, reference, broken):
        with pytest.raises(MeasurementError):
            device.time(broken, reference, self.plan)
        assert device.time(candidate, reference, self.plan).candidate_ms


class TestScriptedDevice(DeviceContract):
    candidate = pytest.fixture(lambda self: scripted_artifact("candidate"))
    reference = pytest.fixture(lambda self: scripted_artifact("reference"))
    broken = pytest.fixture(lambda self: scripted_artifact("broken"))

    @pytest.fixture
    def device(self):
        def script(one, _):
            if one.sha256 == "broken":
                raise MeasurementError("does not load")
            return 1.0

        return ScriptedDevice(script=script)


class TestHostDevice(DeviceContract):
    @pytest.fixture(scope="class")
    @staticmethod
    def exported(tmp_path_factory):
        folder = tmp_path_factory.mktemp("host")
        sizes = {"candidate": 96, "reference": 32}
        return {
            name: export_model(
                ArchConfig.mobilevitv2(0.25, image_size=s), folder, format="onnx", head=ClassifierHead(2)
            )
            for name, s in sizes.items()
        }

    candidate = pytest.fixture(lambda self, exported: exported["candidate"])
    reference = pytest.fixture(lambda self, exported: exported["reference"])
    device = pytest.fixture(lambda self: make_device("host"))

    @pytest.fixture
    def broken(self, tmp_path):
        path = tmp_path / "broken.onnx"
        path.write_bytes(b"no network")
        return replace(scripted_artifact("broken"), path=path)

    @pytest.mark.slow
    def test_nine_times_the_positions_take_longer(self, device, candidate, reference):
        samples = device.time(candidate, reference, TimingPlan())
        assert np.median(samples.candidate_ms) > np.median(samples.reference_ms)

    def test_an_input_of_another_name_is_a_measurement_error(self, device, candidate, reference):
        with pytest.raises(MeasurementError, match="cannot run the network"):
            device.time(replace(candidate, input_name="other"), reference, self.plan)
