"""Benchmarks on a device that says what a script tells it, so that every number is known beforehand."""

import io
import json
import platform
import shutil

import pandas as pd
import pytest
import torch
from click.testing import CliRunner

import mvit2_search.measure.bench as attention_bench
from commands import invoke
from fakes import AGREES, macs_device, measurement, request, search
from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import IMAGENET
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable, MeasurementError
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.export.untrained import Written
from mvit2_search.measure.bench import (
    MIXERS,
    TOKENS,
    AttentionBench,
    MixerTiming,
    _mixer,
    bench_attention,
    bench_models,
    export_mixer,
)
from mvit2_search.measure.devices import registry
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.measure.timer import open_timer
from mvit2_search.records import AboutNetwork, Artifact, Kept
from mvit2_search.report.bench_files import attention_report, mixers_figure, models_figure, models_report
from mvit2_search.report.bench_tables import (
    attention_tables,
    backbone_rows,
    mixer_rows,
    models_tables,
    network_rows,
    published_rows,
    published_table,
    slope_rows,
)
from mvit2_search.report.tables import summarise
from mvit2_search.store.measurements import Measurements

EXPONENTS = {"multi_head": 2.0, "linformer": 1.0, "separable": 0.5}
PASSPORT = ScriptedDevice(script=lambda a, i: 1.0).passport()


def silent(_):
    pass


def models(device, folder):
    return bench_models(device, results=folder, formulation="pixel_unshuffle", tell=silent)


def attention(device, folder):
    return bench_attention(device, results=folder, tell=silent)


def fails_for(device, name, message="does not load"):
    """`device`, but what is called `name`, a key or a mixer at some number of tokens, cannot be timed."""
    script = device.script

    def failing(artifact, i):
        if artifact.path.stem == name:
            raise MeasurementError(message)
        return script(artifact, i)

    device.script = failing
    return device


@pytest.fixture
def instant_mixers(monkeypatch):
    """Mixers are written as their name alone."""

    def export(attention, tokens, folder, *, format):
        path = folder / f"{attention}-{tokens}.{format}"
        path.write_text(json.dumps({"attention": attention, "tokens": tokens}))
        shape = (1, 1, tokens, 512)
        artifact = Artifact(
            path=path,
            sha256=path.stem,
            format=format,
            precision="float32",
            input_name="image",
            input_shape=shape,
            output_shape=shape,
        )
        return Written(artifact=artifact, verify=lambda: AGREES)

    monkeypatch.setattr(attention_bench, "export_mixer", export)


def power_device():
    """Mixers take 5 ms below 1,024 tokens and (tokens / 1024) ** exponent ms from there on."""
    networks = macs_device()

    def script(artifact, i):
        what = json.loads(artifact.path.read_text())
        if "tokens" not in what:
            return networks.script(artifact, i)
        return (what["tokens"] / 1024) ** EXPONENTS[what["attention"]] if what["tokens"] >= 1024 else 5.0

    return ScriptedDevice(script=script)


@pytest.mark.usefixtures("instant_export")
class TestModels:
    def test_measured_is_the_device_and_published_is_the_papers(self, tmp_path):
        rows = {row["network"]: row for row in network_rows(models(macs_device(), tmp_path))}
        assert list(rows) == list(published_networks())
        for name, arch in published_networks().items():
            assert rows[name]["latency_ms"] == pytest.approx(20 * network_cost(arch).macs / 1e9)
        assert rows["mobilevitv2-1.0"] == {
            "network": "mobilevitv2-1.0",
            "params": 4901841,
            "macs": 1812090880,
            "latency_ms": pytest.approx(36.2418176),
            "latency_low_ms": pytest.approx(36.2418176),
            "latency_high_ms": pytest.approx(36.2418176),
            "pairs": 20,
            "flags": "",
            "error": None,
            "published_top1_pct": 78.1,
            "published_latency_ms": 3.4,
            "published_device": "iPhone 12",
            "published_source": "arXiv:2206.02680, tables 2 and 6",
            "published_note": None,
            "published_elsewhere": (
                "78.088 % (timm 1.0.31 mobilevitv2_100, results/results-imagenet.csv); "
                "1.7 ms on iPhone 14 (arXiv:2303.15446); 3.8 ms on iPhone 12 (arXiv:2401.16456); "
                "Failed on iPhone 13 (arXiv:2501.15369, table 18); "
                "78.09 %, 1.38 ms on iPhone 14 Pro (coremltools documentation, opt-quantization-perf: float16, "
                "all compute units, median); "
                "78.09 %, 1.36 ms on iPhone 15 Pro (coremltools documentation, opt-quantization-perf: float16, "
                "all compute units, median)"
            ),
        }

    def test_what_was_measured_is_not_measured_again(self, tmp_path):
        device = macs_device()
        first = models(device, tmp_path)
        passes = device.passes
        assert models(device, tmp_path) == first
        assert device.passes == passes
        assert [path.name for path in tmp_path.iterdir()] == [".latencies"]

    def test_a_network_that_cannot_be_timed_is_a_row_with_the_reason(self, tmp_path):
        device = fails_for(macs_device(), ArchConfig.mobilevitv1("xs").key)
        told = []
        done = bench_models(device, results=tmp_path, formulation="rank5", tell=told.append)
        rows = {row["network"]: row for row in network_rows(done)}
        failed = rows.pop("mobilevitv1-xs")
        assert (failed["latency_ms"], failed["pairs"], failed["error"]) == (None, None, "does not load")
        assert failed["published_latency_ms"] == 7.28
        assert all(row["error"] is None for row in rows.values())
        assert told[0] == "mobilevitv2-0.5: 9.29 ms [9.29, 9.29]"
        assert told[-2] == "mobilevitv1-xs: does not load"
        shown = models_tables(done)[0].table[8]
        assert (shown["network"], shown["published top-1 %"]) == ("mobilevitv1-xs", "74.8")
        assert (shown["ms here"], shown["95 % interval"], shown["remarks"]) == ("", "", "does not load")
        assert models_tables(done)[0].table[7]["published top-1 %"] == "69.0"
        assert [len(trace.x) for trace in models_figure(done).data] == [7, 2]

    def test_the_figure_has_measured_latency_and_published_accuracy(self, tmp_path):
        first, second = models_figure(models(macs_device(), tmp_path)).data
        assert first.x[2] == pytest.approx(36.2418176)
        assert list(first.y) == [70.2, 75.6, 78.1, 79.6, 80.4, 80.8, 81.2]
        assert list(second.y) == [69.0, 74.8, 78.4]

    def test_every_published_row_is_shown(self):
        assert len(published_table().table) == len(published_rows())
        failed = [row for row in published_table().table if row["note"] == "Failed"]
        assert [(row["network"], row["device"], row["latency ms"]) for row in failed] == [
            ("mobilevitv2-1.0", "iPhone 13", "Failed")
        ]

    def test_the_files_hold_the_rows_and_the_device(self, tmp_path):
        done = models(macs_device(chip="<b>chip</b>"), tmp_path)
        csv, html = models_report(done).write(tmp_path)
        assert (csv, html) == (tmp_path / "bench" / "models.csv", tmp_path / "bench" / "models.html")
        frame = pd.read_csv(io.StringIO(csv.read_text()))
        assert list(frame["params"]) == [network_cost(arch).params for arch in published_networks().values()]
        assert set(frame["chip"]) == {"<b>chip</b>"}
        assert set(frame["formulation"]) == {"pixel_unshuffle"}
        page = html.read_text()
        assert "default-src 'none'" in page
        assert "&lt;b&gt;chip&lt;/b&gt;" in page
        assert "<b>chip" not in page
        assert "<td>36.242</td>" in page
        assert "arXiv:2501.15369, table 18" in page


@pytest.mark.usefixtures("instant_export", "instant_mixers")
class TestAttention:
    def test_the_backbones_differ_in_the_mixer_alone(self, tmp_path):
        rows = backbone_rows(attention(power_device(), tmp_path))
        for row in rows:
            cost = network_cost(ArchConfig.mobilevitv2(1.0, attention=row["attention"]))
            assert (row["params"], row["macs"]) == (cost.params, cost.macs)
            assert row["latency_ms"] == pytest.approx(20 * cost.macs / 1e9)
        published = [(row["attention"], row["published_latency_ms"], row["published_top1_pct"]) for row in rows]
        assert published == [("multi_head", 9.9, 78.4), ("linformer", 10.2, 78.2), ("separable", 3.4, 78.1)]

    def test_mixers_are_timed_over_octaves_and_half_octaves(self, tmp_path):
        rows = mixer_rows(attention(power_device(), tmp_path))
        assert [row["tokens"] for row in rows] == 3 * [64, 128, 256, 512, 1024, 1448, 2048, 2896, 4096]
        by_tokens = {row["tokens"]: row for row in rows if row["attention"] == "multi_head"}
        assert by_tokens[64]["latency_ms"] == pytest.approx(5)
        assert by_tokens[4096]["latency_ms"] == pytest.approx(16)
        assert by_tokens[1024]["macs"] == 1024 * (4 * 512**2 + 2 * 1024 * 512)

    def test_slopes_are_those_from_1024_tokens_on(self, tmp_path):
        rows = slope_rows(attention(power_device(), tmp_path))
        assert {row["attention"]: row["slope"] for row in rows} == pytest.approx(EXPONENTS)
        assert {row["points"] for row in rows} == {5}
        assert all(row["slope_high"] - row["slope_low"] < 1e-6 for row in rows)

    @pytest.mark.slow
    def test_points_that_fail_are_left_out_and_too_few_give_no_slope(self, tmp_path):
        device = fails_for(power_device(), "multi_head-4096", "no memory left")
        done = attention(device, tmp_path / "a")
        assert done.slope("multi_head").points == 4
        assert done.slope("multi_head").value == pytest.approx(2)
        for tokens in (1448, 2048):
            device = fails_for(device, f"multi_head-{tokens}")
        done = attention(device, tmp_path / "b")
        assert done.slope("multi_head") is None
        assert done.slope("separable").points == 5
        assert attention_tables(done)[2].table[0] == {
            "attention": "multi_head",
            "from tokens": "1,024",
            "log-log slope": "",
            "95 % interval": "",
            "points": "too few",
        }
        assert attention_tables(done)[1].table[8]["remarks"] == "no memory left"
        assert [len(trace.x) for trace in mixers_figure(done).data] == [6, 9, 9]
        assert not mixers_figure(done).layout.annotations  # Plotly misplaces them on logarithmic axes

    def test_the_files_hold_the_rows_and_the_device(self, tmp_path):
        done = attention(power_device(), tmp_path)
        *tables, html = attention_report(done).write(tmp_path)
        names = ["attention-networks.csv", "attention-mixers.csv", "attention-slopes.csv"]
        assert tables == [tmp_path / "bench" / name for name in names]
        frames = [pd.read_csv(path) for path in tables]
        assert [len(frame) for frame in frames] == [3, 27, 3]
        assert all(set(frame["device"]) == {"a script, not a device"} for frame in frames)
        assert list(frames[2]["slope"]) == pytest.approx([2, 1, 0.5])
        assert "default-src 'none'" in html.read_text()
        assert attention_tables(done)[0].table[0]["published in"] == "arXiv:2206.02680, table 1"


def test_flags_are_shown():
    flagged = measurement(2.0, flags=("unsettled", "slow"))
    row = MixerTiming(attention="separable", tokens=64, macs=1, timing=flagged)
    (shown,) = attention_tables(AttentionBench(passport=PASSPORT, networks=[], mixers=[row]))[1].table
    assert shown["remarks"] == "unsettled slow"
    assert (shown["ms here"], shown["95 % interval"]) == ("2.000", "1.980 to 2.020")


@pytest.mark.parametrize("name", MIXERS)
def test_an_exported_mixer_computes_what_the_mixer_does(tmp_path, name):
    exported = export_mixer(name, 64, tmp_path, format="onnx")
    exported.check()
    artifact = exported.artifact
    torch.manual_seed(0)
    mixer = _mixer(name, (1, 64)).eval()
    rows_BPND = torch.rand(1, 1, 64, 512)
    first = name == "separable"
    given = rows_BPND.permute(0, 3, 1, 2) if first else rows_BPND
    assert artifact.input_shape == tuple(given.shape)
    session = load_network(artifact.path)
    (found,) = session.run(None, {artifact.input_name: given.numpy()})
    with torch.inference_mode():
        expected = mixer(rows_BPND, (1, 64))
    found = torch.from_numpy(found)
    torch.testing.assert_close(found.permute(0, 2, 3, 1) if first else found, expected, atol=1e-5, rtol=1e-5)
    assert expected.std() > 1e-3
    (tmp_path / "again").mkdir()
    assert export_mixer(name, 64, tmp_path / "again", format="onnx").artifact.sha256 == artifact.sha256


def test_the_mixers_are_those_of_the_papers_figure():
    multi_head, linformer = _mixer("multi_head", (1, 4096)), _mixer("linformer", (1, 4096))
    assert multi_head.heads == linformer.heads == 8
    assert multi_head.qkv.in_features == 512
    assert linformer.project_keys.shape == (256, 4096)
    assert (min(TOKENS), max(TOKENS)) == (64, 4096)


@pytest.mark.slow
def test_this_machine_times_mixers(tmp_path, timed):
    shutil.copytree(timed, tmp_path / ".latencies")
    with open_timer(
        registry.make_device("host"), results=tmp_path, head=IMAGENET, formulation="pixel_unshuffle"
    ) as timer:
        few, many = (attention_bench._time_mixer(timer, "separable", n, silent) for n in (64, 1024))
    assert 0 < few.timing.latency_ms < many.timing.latency_ms


def bench(*words):
    return invoke("bench", *words)


@pytest.mark.usefixtures("instant_export", "instant_mixers")
class TestCommand:
    @pytest.fixture(autouse=True)
    def device(self, monkeypatch):
        monkeypatch.setattr(registry, "make_device", lambda name: power_device())

    def test_models_prints_both_tables_the_device_and_the_files(self, tmp_path):
        result = bench("models", "--results", tmp_path)
        assert result.exit_code == 0, result.output
        lines = result.stdout.splitlines()
        (head,) = [line for line in lines if line.startswith("network") and "ms here" in line]
        row = lines[lines.index(head) + 3]
        assert row.split()[:4] == ["mobilevitv2-1.0", "4,901,841", "1,812,090,880", "36.242"]
        assert row.index("78.1") == head.index("published top-1 %") + len("published top-1 %") - len("78.1")
        assert any("9.47" in line and "iPhone 13" in line for line in lines)
        assert any("Failed" in line and "iPhone 13" in line for line in lines)
        assert "Latencies were measured with a script, not a device" in result.stdout
        assert lines[-2:] == [str(tmp_path / "bench" / name) for name in ("models.csv", "models.html")]
        assert "mobilevitv2-0.5: 9.29 ms [9.29, 9.29]" in result.stderr

    def test_a_table_has_one_scale_whatever_the_device_does_meanwhile(self, tmp_path, monkeypatch):
        device = power_device()
        device.weather = lambda *_: 1.5 if not (tmp_path / ".latencies").is_dir() else 1.0  # until it is known
        monkeypatch.setattr(registry, "make_device", lambda name: device)
        rows = json.loads(bench("models", "--json", "--results", tmp_path).stdout)["networks"]
        per_mac = {round(row["latency_ms"] / row["macs"] * 1e9, 6) for row in rows}
        assert per_mac == {30.0}
        assert {row["flags"] for row in rows} == {"fast"}

    @pytest.mark.slow
    def test_json_is_nothing_but_json(self, tmp_path):
        found = json.loads(bench("models", "--json", "--results", tmp_path).stdout)
        assert found["passport"]["chip"] == "scripted chip"
        assert [row["network"] for row in found["networks"]] == list(published_networks())
        assert len(found["published"]) == len(published_rows())
        found = json.loads(bench("attention", "--json", "--results", tmp_path).stdout)
        assert [row["slope"] for row in found["slopes"]] == pytest.approx([2, 1, 0.5])
        assert len(found["mixers"]) == 27
        assert len(found["files"]) == 4

    def test_attention_prints_its_three_tables(self, tmp_path):
        lines = bench("attention", "--results", tmp_path).stdout.splitlines()
        slopes = lines[next(i for i, line in enumerate(lines) if "log-log slope" in line) :]
        assert slopes[1].split() == ["multi_head", "1,024", "2.00", "2.00", "to", "2.00", "5"]
        assert any(line.startswith("linformer") and "10.2" in line for line in lines)

    @pytest.mark.slow
    def test_mixers_beside_networks_disturb_no_other_command(self, tmp_path, images, monkeypatch):
        assert bench("attention", "--results", tmp_path).exit_code == 0
        monkeypatch.setattr("mvit2_search.measure.source.make_device", lambda name: power_device())
        (folder,) = tmp_path.glob(".latencies/*")
        for width in range(20):
            arch = ArchConfig.mobilevitv2(0.5 + width / 16)
            about = AboutNetwork(arch=arch, head=IMAGENET, formulation="pixel_unshuffle")
            timed = measurement(network_cost(arch).macs / 5e7, artifact_sha256=arch.key)
            Measurements(folder).put(Kept(measurement=timed, about=about, visits=()))
        digest = folder.name.partition("-")[0]
        commands = [
            ["measure", "mobilevitv2-0.75", "--predict"],
            ["bench", "rank", "--device", f"cache:{digest}", "--against", "estimate:iphone12"],
        ]
        for command in commands:
            ran = CliRunner().invoke(cli, [*command, "--results", str(tmp_path)])
            assert ran.exit_code == 0, ran.output
        study = search(request(tmp_path, results=tmp_path, data=str(images)), device=power_device())
        assert summarise(study).verdict is not None

    def test_a_device_that_is_not_there_exits_4(self, tmp_path, monkeypatch):
        class Gone(ScriptedDevice):
            def check(self):
                raise BackendUnavailable("the cable is out")

        monkeypatch.setattr(registry, "make_device", lambda name: Gone(script=lambda a, i: 1.0))
        for command in ("models", "attention"):
            result = bench(command, "--results", tmp_path)
            assert (result.exit_code, result.stderr) == (4, "error: the cable is out\n")
        assert not list(tmp_path.iterdir())


@pytest.mark.skipif(platform.system() == "Darwin", reason="a Mac has Core ML")
def test_core_ml_elsewhere_exits_4(tmp_path):
    result = bench("models", "--device", "coreml", "--results", tmp_path)
    assert result.exit_code == 4
    assert "only on macOS" in result.stderr
