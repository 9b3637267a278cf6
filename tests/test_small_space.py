"""Spaces of a few networks: as good with an estimate as on a device."""

import pytest
from click.testing import CliRunner

import mvit2_search.measure.source as latencies
import mvit2_search.search.tools as tools
from fakes import FormulaProxy, macs_device
from mvit2_search.cli import cli
from mvit2_search.store import open_study

pytestmark = pytest.mark.usefixtures("instant_export", "images")


def run(folder, settings, device, budget="mobilevitv2-1.0"):
    path = folder / "small.yaml"
    path.write_text(f"name: small\nsettings:\n{settings}")
    command = ["run", "--space", str(path), "--data", str(folder / "images"), "--latency-budget", budget]
    command += ["--study", "one", "--trials", "50", "--image-size", "32", "--results", str(folder / "results")]
    return CliRunner().invoke(cli, [*command, "--device", device, "--confirm-seeds", "2"])


@pytest.mark.slow
@pytest.mark.parametrize("device", ["estimate:iphone12", "host"])
@pytest.mark.parametrize(
    ("settings", "networks"),
    [
        ("  expand_ratio: {choices: [2.0]}\n", 1),
        ("  expand_ratio: {choices: [1.5, 2.0]}\n", 2),
        ("  expand_ratio: {choices: [1.5, 2.0]}\n  ffn_multiplier: {choices: [1.5, 2.0]}\n", 4),
    ],
)
def test_all_its_networks_are_tried(tmp_path, monkeypatch, settings, networks, device):
    monkeypatch.setattr(latencies, "make_device", lambda name: macs_device())
    monkeypatch.setattr(tools, "ShortTrain", lambda *_, **__: FormulaProxy())
    ran = run(tmp_path, settings, device)
    assert ran.exit_code == 0, ran.output
    study = open_study(tmp_path / "results" / "one")
    keys = {trial.arch.key for trial in study.trials()}
    assert len(keys) == networks
    assert "every network of the space that may fit the budget has been tried" in study.fact("ended").why


@pytest.mark.parametrize(("ratios", "refused"), [("[1.0, 7.0, 8.0]", "2 of 3"), ("[8.0]", "1 of 1")])
def test_an_estimate_refuses_most_of_a_small_space_with_the_reason(tmp_path, ratios, refused):
    ran = run(tmp_path, f"  width: 2.0\n  expand_ratio: {{choices: {ratios}}}\n", "estimate:iphone12")
    assert (ran.exit_code, ran.stderr.count("\n")) == (2, 1)
    assert f"{refused} networks of space 'small' are refused: estimate:iphone12: multiply-adds" in ran.stderr
