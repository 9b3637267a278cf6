"""The protocol on devices whose truth is known, and the contract that every device keeps."""

import json
import platform
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import MeasurementError, SpecError, StorageError
from mvit2_search.export import export_model
from mvit2_search.latency import Meter, TimingPlan, default_device, make_device
from mvit2_search.latency.coreml import CoreMLDevice
from mvit2_search.latency.host import HostDevice
from mvit2_search.latency.scripted import ScriptedDevice
from mvit2_search.latency.timing import paired_ratio
from mvit2_search.latency.turns import take_turns
from mvit2_search.records import Artifact, Measurement, Samples


def artifact(name, **changes):
    whole = Artifact(
        path=Path(name),
        sha256=name,
        format="onnx",
        precision="float32",
        input_name="x",
        input_shape=(1,),
        output_shape=(1,),
    )
    return replace(whole, **changes)


CANDIDATE, REFERENCE = artifact("candidate"), artifact("reference")


def scripted(shape, candidate_ms=30.0, reference_ms=10.0):
    """A device whose truth is known, times `shape(i)` at the i-th pass."""
    truth = {"candidate": candidate_ms, "reference": reference_ms}
    return ScriptedDevice(script=lambda a, i: truth[a.sha256] * shape(i))


def noise(percent, seed=0):
    factors = np.random.default_rng(seed).lognormal(0, percent / 100, 10_000)
    return lambda i: factors[i]


def measure(device, folder):
    return Meter(device, folder, REFERENCE).measure(CANDIDATE)


def test_a_quiet_device_is_settled_at_once(tmp_path):
    result = measure(scripted(noise(1)), tmp_path)
    assert result.latency_ms == pytest.approx(30, rel=0.01)
    assert result.low_ms <= result.latency_ms <= result.high_ms
    assert (result.pairs, result.flags) == (20, ())


def test_a_machine_that_changes_its_speed_does_not_change_the_result(tmp_path):
    regimes = lambda i: 1.55 if (i // 40) % 2 else 1.0  # noqa: E731
    wobble = noise(1)
    device = scripted(lambda i: regimes(i) * wobble(i))
    result = measure(device, tmp_path)
    truth = result.reference_ms * 3
    assert result.latency_ms == pytest.approx(truth, rel=0.02)


def test_a_slow_spell_is_flagged_and_the_result_stays(tmp_path):
    device = scripted(noise(1))
    meter = Meter(device, tmp_path, REFERENCE)
    device.script = scripted(lambda i: 1.55).script
    result = meter.measure(CANDIDATE)
    assert result.latency_ms == pytest.approx(30, rel=0.02)
    assert result.reference_now_ms == pytest.approx(15.5, rel=0.02)
    assert result.flags == ("slow",)


def test_outliers_do_not_move_the_median(tmp_path):
    wobble = noise(1)
    result = measure(scripted(lambda i: wobble(i) * (8 if i % 11 == 0 else 1)), tmp_path)
    assert result.latency_ms == pytest.approx(30, rel=0.03)


def test_what_does_not_settle_is_flagged_after_more_pairs(tmp_path):
    result = measure(scripted(noise(30)), tmp_path)
    assert result.pairs == TimingPlan().pairs_per_visit * TimingPlan().max_visits
    assert "unsettled" in result.flags


def test_the_interval_covers_the_median_as_often_as_it_says():
    rng, truth, hits = np.random.default_rng(3), 3.0, 0
    for _ in range(400):
        candidate = truth * rng.lognormal(0, 0.1, 20)
        _, low, high = paired_ratio(Samples(candidate_ms=tuple(candidate), reference_ms=(1.0,) * 20, load_ms=0))
        hits += low <= truth <= high
    assert hits >= binom.ppf(0.001, 400, 0.95)
    assert hits < 400


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_times_that_are_none_are_refused(tmp_path, bad):
    meter = Meter(scripted(noise(1)), tmp_path, REFERENCE)
    meter._device.script = lambda a, i: bad
    with pytest.raises(MeasurementError, match="the device gave a time of"):
        meter.measure(CANDIDATE)


def test_every_timed_pass_follows_an_untimed_one_of_the_same_network():
    passes = []

    def run(name):
        return lambda: passes.append(name) or float(len(passes))

    samples = take_turns(run("c"), run("r"), plan=TimingPlan(warmup=0, pairs_per_visit=2), load_ms=0.0)
    assert "".join(passes) == "ccrrccrr"
    assert samples.candidate_ms == (2.0, 6.0)
    assert samples.reference_ms == (4.0, 8.0)


def test_a_measurement_is_made_once_and_shared(tmp_path):
    device = scripted(noise(1))
    first = measure(device, tmp_path)
    made = device.passes
    assert measure(device, tmp_path) == first
    assert device.passes == made
    saved = json.loads(next(tmp_path.glob("*/candidate.json")).read_text())
    assert len(saved["samples"]["candidate_ms"]) == first.pairs
    assert Measurement.from_json(saved["measurement"]) == first


def test_another_passport_or_reference_measures_anew(tmp_path):
    first = Meter(scripted(noise(1)), tmp_path, REFERENCE)
    other_chip = scripted(noise(1))
    other_chip.chip = "another"
    assert first.passport.differences(Meter(other_chip, tmp_path, REFERENCE).passport) == [
        "chip: scripted chip here, another there"
    ]
    Meter(scripted(noise(1)), tmp_path, replace(REFERENCE, sha256="reference", path=Path("x")))
    other = scripted(noise(1))
    other.script = lambda a, i: 1.0
    Meter(other, tmp_path, artifact("another"))
    assert len(list(tmp_path.iterdir())) == 3


def test_a_study_keeps_its_scale_whatever_the_machine_does_later(tmp_path):
    first = measure(scripted(noise(1)), tmp_path / "a")
    slow = scripted(lambda i: 1.55)
    meter = Meter(slow, tmp_path / "b", REFERENCE, reference_ms=first.reference_ms)
    assert meter.measure(CANDIDATE).latency_ms == pytest.approx(first.latency_ms, rel=0.02)


def test_a_shared_measurement_is_put_on_the_scale_of_the_study(tmp_path):
    first = measure(scripted(noise(1)), tmp_path)
    again = Meter(scripted(noise(1)), tmp_path, REFERENCE, reference_ms=2 * first.reference_ms).measure(CANDIDATE)
    assert again.latency_ms == pytest.approx(2 * first.latency_ms)
    assert (again.high_ms - again.low_ms) == pytest.approx(2 * (first.high_ms - first.low_ms))
    assert (again.reference_now_ms, again.pairs) == (first.reference_now_ms, first.pairs)


def test_a_damaged_measurement_is_named(tmp_path):
    device = scripted(noise(1))
    measure(device, tmp_path)
    path = next(tmp_path.glob("*/candidate.json"))
    path.write_text("{")
    with pytest.raises(StorageError, match=r"candidate.json: cannot be read .* delete it"):
        measure(device, tmp_path)


def test_devices_have_names():
    assert isinstance(make_device("host"), HostDevice)
    assert isinstance(make_device("auto"), CoreMLDevice if platform.system() == "Darwin" else HostDevice)
    assert default_device() in ("host", "coreml")
    with pytest.raises(SpecError, match=r"'scripted': expected auto, host or coreml"):
        make_device("scripted")


class DeviceContract:
    """What every device promises; a subclass gives `device`, `candidate`, `reference` and `broken`."""

    plan = TimingPlan(warmup=1, pairs_per_visit=3)

    def test_samples_are_positive_and_paired(self, device, candidate, reference):
        device.check()
        samples = device.time(candidate, reference, self.plan)
        assert len(samples.candidate_ms) == len(samples.reference_ms) == 3
        assert min(samples.candidate_ms + samples.reference_ms) > 0
        assert samples.load_ms >= 0

    def test_the_passport_is_its_own_and_stays(self, device):
        passport = device.passport()
        assert passport == device.passport()
        assert passport.device
        assert passport.chip

    def test_a_broken_artifact_is_refused_and_the_device_goes_on(self, device, candidate, reference, broken):
        with pytest.raises(MeasurementError):
            device.time(broken, reference, self.plan)
        assert device.time(candidate, reference, self.plan).candidate_ms


class TestScriptedDevice(DeviceContract):
    candidate = pytest.fixture(lambda self: CANDIDATE)
    reference = pytest.fixture(lambda self: REFERENCE)
    broken = pytest.fixture(lambda self: artifact("broken"))

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
            name: export_model(ArchConfig.mobilevitv2(0.25, image_size=s), folder, format="onnx", num_classes=2)
            for name, s in sizes.items()
        }

    candidate = pytest.fixture(lambda self, exported: exported["candidate"])
    reference = pytest.fixture(lambda self, exported: exported["reference"])
    device = pytest.fixture(lambda self: make_device("host"))

    @pytest.fixture
    def broken(self, tmp_path):
        path = tmp_path / "broken.onnx"
        path.write_bytes(b"no network")
        return artifact("broken", path=path)

    def test_nine_times_the_positions_take_longer(self, device, candidate, reference):
        samples = device.time(candidate, reference, TimingPlan())
        assert np.median(samples.candidate_ms) > np.median(samples.reference_ms)

    def test_an_input_of_another_name_is_a_measurement_error(self, device, candidate, reference):
        with pytest.raises(MeasurementError, match="cannot run the network"):
            device.time(replace(candidate, input_name="other"), reference, self.plan)
