"""`devices`, `measure` and the export of single architectures; nothing is timed that computes something else."""

import json
import platform
from dataclasses import replace
from pathlib import Path

import pytest

import mvit2_search.measure.source as latencies
from commands import invoke
from fakes import AGREES, MS_PER_GMAC, fake_exporter, macs_device
from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.config import arch_yaml
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import MeasurementError
from mvit2_search.export.verify import Gate
from mvit2_search.measure.timer import open_timer
from mvit2_search.records import DEFAULT_FORMULATION

FAILS = Gate(name="largest error of an output", figure=0.5, limit=1e-4, passed=False, needed="< 0.0001")


@pytest.fixture
def device(monkeypatch, instant_export):
    scripted = macs_device()
    monkeypatch.setattr(latencies, "make_device", lambda name: scripted)
    return scripted


def timer(device, results, *, num_classes=10, exporter=fake_exporter):
    return open_timer(
        device,
        results=results,
        head=ClassifierHead(num_classes),
        formulation=DEFAULT_FORMULATION,
        exporter=exporter,
    )


def test_devices_are_listed_with_what_they_need():
    found = {row["name"]: row for row in json.loads(invoke("devices", "--json").stdout)}
    assert found["host"]["ready"]
    assert "onnxruntime" in found["host"]["about"]
    assert found["estimate:iphone12"]["ready"]
    assert "predicted" in found["estimate:iphone12"]["about"]
    if platform.system() != "Darwin":
        assert not found["coreml:ne"]["ready"]
        assert "only on macOS" in found["coreml:ne"]["about"]
    printed = invoke("devices").stdout.splitlines()
    assert [line.split()[0] for line in printed] == list(found)
    assert all(("ready" in line) == found[line.split()[0]]["ready"] for line in printed)


def test_a_measurement_is_printed_and_kept_with_its_samples(tmp_path, device):
    truth = MS_PER_GMAC * network_cost(published("mobilevitv2-0.75")).macs / 1e9
    command = ("measure", "mobilevitv2-0.75", "--device", "host", "--results", tmp_path)
    printed = invoke(*command).stdout
    assert f"mobilevitv2-0.75 (bd11eccc8f2f): {truth:.2f} ms" in printed
    assert "20 pairs of single passes in 2 visits" in printed
    passes = device.passes
    row = json.loads(invoke(*command, "--json").stdout)
    assert device.passes == passes  # it was kept
    assert row["latency_kind"] == "measured"
    assert row["latency"]["latency_ms"] == pytest.approx(truth)
    saved = json.loads(Path(row["samples"]).read_text())
    assert sum(len(visit["candidate_ms"]) for visit in saved["visits"]) == 20
    assert ArchConfig.from_json(saved["about"]["arch"]) == published("mobilevitv2-0.75")
    assert row["passport"]["chip"] == "scripted chip"
    invoke(*command, "--again")
    assert device.passes > passes


def test_what_is_flagged_is_said_in_words(tmp_path, device):
    invoke("measure", "mobilevitv2-0.5", "--device", "host", "--results", tmp_path)
    device.weather = lambda *_: 1.5
    printed = invoke("measure", "mobilevitv2-0.75", "--device", "host", "--results", tmp_path).stdout
    assert "Flagged slow: the device ran slower than it can" in printed
    assert "Flagged unsettled" not in printed


@pytest.mark.slow
def test_a_latency_is_predicted_from_what_is_kept(tmp_path, device):
    command = ("measure", "mobilevitv2-0.75", "--device", "host", "--results", tmp_path, "--predict")
    few = invoke(*command)
    assert few.exit_code == 2
    assert "a prediction needs 20 networks measured with 1000 classes" in few.stderr
    _, *words = few.stderr.split("`")[1].split()
    described = invoke(*words[:2], "--help").stdout
    assert all(word in described for word in words if word.startswith("--"))
    for width in range(20):
        with timer(device, tmp_path, num_classes=1000) as one:
            one.measure(ArchConfig.mobilevitv2(0.5 + width / 16))
    passes = device.passes
    row = json.loads(invoke(*command, "--json").stdout)
    assert device.passes == passes
    assert (row["latency_kind"], row["samples"]) == ("predicted", None)
    truth = MS_PER_GMAC * network_cost(published("mobilevitv2-0.75")).macs / 1e9
    assert row["latency"]["latency_ms"] == pytest.approx(truth, rel=0.05)
    assert ": predicted " in invoke(*command).stdout


def test_an_estimate_predicts_and_says_so(tmp_path):
    command = ("measure", "mobilevitv2-1.0", "--device", "estimate:iphone12", "--results", tmp_path)
    assert ": predicted 3." in invoke(*command).stdout
    row = json.loads(invoke(*command, "--json").stdout)
    assert (row["latency_kind"], row["samples"]) == ("predicted", None)
    assert row["latency"]["low_ms"] < 3.4 < row["latency"]["high_ms"]
    assert list(tmp_path.iterdir()) == []


def test_an_estimate_refuses_what_nothing_is_published_of(tmp_path):
    path = tmp_path / "mixed.yaml"
    path.write_text(arch_yaml(ArchConfig.mobilevitv2(1.0, attention="multi_head"), []))
    result = invoke("measure", path, "--device", "estimate:iphone12")
    assert result.exit_code == 2
    assert "attention: expected separable, found multi_head" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("nosuch",), 2, "nosuch"),
        (("mobilevitv2-0.5", "--device", "tpu"), 2, "expected auto, host"),
        (("mobilevitv2-0.5", "--device", "estimate:nokia"), 2, "expected one of iphone12"),
        (("mobilevitv2-0.5", "--classes", "0"), 2, "Invalid value for '--classes'"),
    ],
)
def test_wrong_input_is_one_line_and_a_code(tmp_path, arguments, code, message):
    result = invoke("measure", *arguments, "--results", tmp_path)
    assert result.exit_code == code
    assert message in result.stderr


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML")
def test_a_device_that_is_not_here_is_exit_4(tmp_path):
    result = invoke("measure", "mobilevitv2-0.5", "--device", "coreml:ne", "--results", tmp_path)
    assert result.exit_code == 4
    assert "only on macOS" in result.stderr


def wrong_exporter(arch, folder, **options):
    """Its files compute something else."""
    return replace(fake_exporter(arch, folder, **options), verify=lambda: replace(AGREES, gates=(FAILS,)))


def test_what_computes_something_else_is_not_timed(tmp_path, device):
    good, bad = ArchConfig.mobilevitv2(0.5), ArchConfig.mobilevitv2(0.75)

    def exporter(arch, folder, **options):
        return (wrong_exporter if arch == bad else fake_exporter)(arch, folder, **options)

    with timer(device, tmp_path, exporter=exporter) as one:
        one.measure(good)
        passes = device.passes
        with pytest.raises(MeasurementError, match=r"something else than the network: FAIL  largest error .* 0.5"):
            one.measure(bad)
        assert device.passes == passes
    kept = list(tmp_path.glob(".latencies/*/*.json"))
    assert len(kept) == 2  # the reference and the good one


def test_a_reference_that_computes_something_else_is_not_timed(tmp_path, device):
    with (
        pytest.raises(MeasurementError, match="something else"),
        timer(device, tmp_path, exporter=wrong_exporter),
    ):
        pass
    assert device.passes == 0


@pytest.mark.slow
def test_a_network_is_exported_by_its_own_name(tmp_path):
    path = tmp_path / "mine.yaml"
    arch = ArchConfig.mobilevitv2(0.25, image_size=64)
    path.write_text(arch_yaml(arch, []))
    command = ("export", path, "--format", "onnx", "--classes", "7", "--results", tmp_path)
    row = json.loads(invoke(*command, "--json").stdout)
    written = tmp_path / "exports" / arch.key / "untrained-pixel_unshuffle-7-classes.onnx"
    assert (row["path"], row["trial"], row["key"]) == (str(written), None, arch.key)
    checked = invoke("verify", written, "--against", path)
    assert checked.exit_code == 0, checked.output
    assert invoke("export", "mobilevitv2-0.5", "--trial", "1", "--results", tmp_path).exit_code == 2
    assert invoke("export", "mobilevitv2-0.5", "--classes", "7", "--results", tmp_path).exit_code == 2
