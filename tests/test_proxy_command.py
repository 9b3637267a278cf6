"""`mvit2-search proxy check` and `proxy tune` as a user calls them, on stand-ins for trainings and latencies."""

import json

import pytest
from click.testing import CliRunner

import mvit2_search.search.certify as certify
import mvit2_search.search.tools as tools
import mvit2_search.search.tune as tune
from fakes import FormulaProxy
from mvit2_search.arch.cost import network_cost
from mvit2_search.cli import cli
from mvit2_search.errors import TrainingError
from mvit2_search.train.proxies import EpochScore

pytestmark = pytest.mark.slow

ASKED = ["--space", "blocks", "--device", "estimate:iphone12", "--latency-budget", "mobilevitv2-0.75"]


class Scored(FormulaProxy):
    """More images give a score with less noise; counts its trainings."""

    trainings = 0

    def __init__(self, recipe, device, *, taught=None, between=None):
        super().__init__()
        self.recipe, self.device, self.taught = recipe, device, taught

    def run(self, arch, dataset, *, seed, test_on):
        Scored.trainings += 1
        noise = int(arch.key, 16) * (seed + 3) % 101 / 101 - 0.5
        images = self.recipe.epochs * self.recipe.images_per_epoch
        order = int(arch.key[:6], 16) % 89 / 89  # what makes a network good: nothing that its cost tells
        score = 50 + 30 * order + 60 * noise / (1 + images / 300)
        yield EpochScore(epoch=self.recipe.epochs, score=score)

    def settings(self):
        recipe = self.recipe
        return {
            "proxy": "formula",
            "epochs": recipe.epochs,
            "images_per_epoch": recipe.images_per_epoch,
            "image_size": recipe.image_size,
        }


@pytest.fixture
def called(tmp_path, images, monkeypatch):
    monkeypatch.setattr(
        "mvit2_search.search.band.synflow", lambda arch, head: float(network_cost(arch, head).params)
    )
    for module in (tools, certify, tune):
        monkeypatch.setattr(module, "ShortTrain", Scored)
    monkeypatch.setattr(Scored, "trainings", 0)
    monkeypatch.chdir(tmp_path)

    def invoke(command, *more, study="trusted"):
        options = [*ASKED, "--data", str(images), "--study", study, "--image-size", "32"]
        return CliRunner().invoke(cli, ["proxy", command, *options, *more])

    return invoke


def checked(called, *more, **changes):
    return called("check", "--networks", "12", "--images-per-epoch", "300", *more, **changes)


def test_a_check_prints_its_verdict_and_where_its_files_are(called):
    done = checked(called)
    assert done.exit_code == 0, done.output
    assert "Verdict: " in done.stdout
    assert "certificate.html" in done.stdout
    for name in ("parameters", "multiply-adds", "latency", "SynFlow", "ceiling"):
        assert name in done.stdout
    assert Scored.trainings == 12 * 3
    assert checked(called).stdout.endswith(done.stdout[done.stdout.index("Verdict") :])
    assert Scored.trainings == 12 * 3


def test_json_is_all_that_is_on_stdout(called):
    found = json.loads(checked(called, "--json").stdout)
    assert found["complete"]
    assert found["findings"]["verdict"] in ("ranks", "coarse", "useless")
    assert len(found["networks"]) == 12


def test_the_truth_may_be_another_recipe(called):
    found = json.loads(checked(called, "--truth-epochs", "7", "--json").stdout)
    assert found["inputs"]["truth"]["epochs"] == 7
    found = json.loads(checked(called, "--truth-recipe", "proxy", "--json", study="other").stdout)
    assert found["inputs"]["truth"]["images_per_epoch"] == 1500


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["--networks", "8"], 2, "--networks 8"),
        (["--band", "1", "0.5"], 2, "--band"),
        (["--truth-seeds", "1"], 2, "--truth-seeds 1"),
        (["--truth-recipe", "proxi"], 2, "proxi"),
        (["--teacher-weight", "0.5"], 2, "needs --teacher"),
        (["--teacher", "no.onnx"], 2, "no.onnx"),
        (["--latency-budget", "0.01ms"], 2, "--band"),
    ],
)
def test_wrong_options_are_one_line(called, options, code, said):
    done = called("check", *options)
    assert done.exit_code == code
    assert said in done.stderr
    assert "Traceback" not in done.output


def test_a_check_with_other_inputs_is_exit_3(called):
    checked(called)
    done = checked(called, "--seed", "1")
    assert done.exit_code == 3
    assert "seed: was 0, now 1" in done.stderr


def test_a_useless_proxy_is_called_useless(called, monkeypatch):
    usual = Scored.run

    def shuffled(self, arch, dataset, *, seed, test_on):
        for one in usual(self, arch, dataset, seed=seed, test_on=test_on):
            luck = int(arch.key, 16) % 997 / 997
            yield one if test_on == "confirmation" else EpochScore(epoch=one.epoch, score=50 + luck)

    monkeypatch.setattr(Scored, "run", shuffled)
    assert "Verdict: useless" in checked(called).stdout


def test_tuning_stops_at_the_cheapest_that_reaches_the_target(called):
    checked(called)
    Scored.trainings = 0
    tried = ["--try-epochs", "1,3,12", "--try-images", "100,1000", "--images-per-epoch", "300"]
    done = called("tune", "--target-tau", "0.85", *tried, "--json")
    found = json.loads(done.stdout)
    taus = [one["tau"]["value"] for one in found["tried"]]
    assert found["reached"] == (done.exit_code == 0)
    assert len(taus) > 1
    assert all(tau < 0.85 for tau in taus[:-1])
    assert found["reached"]
    assert taus[-1] >= 0.85
    prices = [one["epochs"] * one["images_per_epoch"] for one in found["tried"]]
    assert prices == sorted(prices)
    assert Scored.trainings == 12 * len(taus)
    assert called("tune", "--target-tau", "0.85", *tried, "--json").stdout == done.stdout
    assert Scored.trainings == 12 * len(taus), "what is there is not trained again"
    text = called("tune", "--target-tau", "0.85", *tried).stdout
    best = found["tried"][-1]
    assert f"--epochs {best['epochs']} --images-per-epoch {best['images_per_epoch']}" in text


def test_the_setting_of_the_check_itself_is_not_trained_again(called):
    checked(called)
    Scored.trainings = 0
    done = called(
        "tune", "--target-tau", "-1", "--try-epochs", "3", "--try-images", "300", "--images-per-epoch", "300"
    )
    assert done.exit_code == 0, done.output
    assert Scored.trainings == 0


def test_a_target_that_nothing_reaches_is_exit_1(called):
    checked(called)
    done = called(
        "tune", "--target-tau", "1", "--try-epochs", "1", "--try-images", "32", "--images-per-epoch", "300"
    )
    assert done.exit_code == 1
    assert "None of these" in done.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--target-tau", "0.7"], "certificate.json is missing"),
        (["--target-tau", "7"], "--target-tau 7"),
        (["--target-tau", "0.7", "--try-epochs", "a"], "--try-epochs"),
        (["--target-tau", "0.7", "--try-epochs", "0"], "--epochs 0"),
    ],
)
def test_wrong_options_of_tuning_are_one_line(called, options, said):
    done = called("tune", *options)
    assert done.exit_code == 2
    assert said in done.stderr


def test_tuning_is_for_the_images_of_the_check(called, images):
    checked(called)
    (next(images.glob("blue/*"))).unlink()
    done = called("tune", "--target-tau", "0.7", "--images-per-epoch", "300")
    assert done.exit_code == 3
    assert "made with other images" in done.stderr


def test_a_check_of_trainings_that_all_fail_says_why(called, monkeypatch):
    def fails(self, arch, dataset, **_):
        raise TrainingError("the loss is not finite in epoch 1")

    monkeypatch.setattr(Scored, "run", fails)
    done = checked(called)
    assert done.exit_code == 1
    assert "Done: 0 of 12" in done.stdout
    assert "not finite" in done.stdout
    assert "max-hours" not in done.stdout


def test_json_stays_json_when_the_time_is_up(called):
    done = checked(called, "--json", "--max-hours", "1e-9")
    assert done.exit_code == 0
    assert not json.loads(done.stdout)["complete"]
    assert "To continue" in done.stderr


def test_a_tuning_whose_time_is_up_does_not_say_that_nothing_reaches_the_target(called):
    checked(called)
    options = ["--target-tau", "1", "--try-epochs", "1", "--images-per-epoch", "300", "--max-hours", "1e-9"]
    done = called("tune", *options)
    assert done.exit_code == 0
    assert "None of these" not in done.stdout
    assert "To continue" in done.stdout
    assert json.loads(called("tune", *options, "--json").stdout)["stopped"]


def test_a_folder_with_a_certificate_alone_is_told_from_a_study(called):
    checked(called)
    done = CliRunner().invoke(cli, ["status", "trusted"])
    assert done.exit_code == 2
    assert "a certificate and no search" in done.stderr
