"""Unbalanced classes: what the accuracy hides is said beside it."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from click.testing import CliRunner
from torch import nn

import mvit2_search.search.tools as tools
import mvit2_search.train.proxies as short_train
from conftest import write_images
from fakes import FormulaProxy, finished
from fakes import trial as make_trial
from mvit2_search.analysis.confirmation import confirmations
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.models import build_model
from mvit2_search.records import Recipe, Score
from mvit2_search.task.classification import Classification
from mvit2_search.task.data.dataset import Split
from mvit2_search.task.data.load import load_dataset
from mvit2_search.task.protocol import TaskScore
from mvit2_search.train.loop import evaluate
from mvit2_search.train.proxies import EpochScore, ShortTrain

RECIPE = Recipe(epochs=2, image_size=32, images_per_epoch=32, batch_size=8)


THREE = Classification(["a", "b", "c"])


class BalancedProxy(FormulaProxy):
    """Says 55 % for the mean over the classes where they are unbalanced."""

    def run(self, arch, dataset, *, seed, test_on):
        for score in super().run(arch, dataset, seed=seed, test_on=test_on):
            balanced = 50.0 + score.epoch * 2.5 if dataset.is_unbalanced else None
            yield EpochScore(epoch=score.epoch, score=score.score, balanced=balanced)


@pytest.mark.parametrize(("zeros", "ones", "balanced"), [(50, 150, 50.0), (0, 10, 100.0), (10, 0, 0.0)])
def test_every_class_counts_the_same(zeros, ones, balanced):
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(3))
    nn.init.zeros_(model.classifier.linear.weight)
    model.classifier.linear.bias.data.copy_(torch.tensor([0.0, 1.0, 0.0]))  # always answers 1
    labels = np.array([1] * ones + [0] * zeros)
    split = Split(pixels_NSSC=np.zeros((zeros + ones, 32, 32, 1), np.uint8), labels_N=labels)
    tested = evaluate(model, split, THREE, device="cpu")
    assert tested.score == pytest.approx(100 * ones / (zeros + ones))
    assert tested.balanced == pytest.approx(balanced)


def test_it_is_the_mean_over_three_classes_too():
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(3))
    nn.init.zeros_(model.classifier.linear.weight)
    model.classifier.linear.bias.data.copy_(torch.tensor([0.0, 1.0, 0.0]))  # always answers 1
    labels = np.array([0] * 1 + [1] * 7 + [2] * 2)
    split = Split(pixels_NSSC=np.zeros((10, 32, 32, 1), np.uint8), labels_N=labels)
    assert evaluate(model, split, THREE, device="cpu").balanced == pytest.approx(100 / 3)


def test_a_training_tells_both_accuracies_that_were_tested(tmp_path, monkeypatch):
    monkeypatch.setattr(short_train, "evaluate", lambda *_, **__: TaskScore(score=80.0, balanced=30.0))
    data = load_dataset(str(write_images(tmp_path / "images", {"a": 20, "b": 60})), image_size=32, max_train=100)
    *_, last = ShortTrain(RECIPE, "cpu").run(ArchConfig.mobilevitv2(0.25), data, seed=0, test_on="selection")
    assert (last.score, last.balanced) == (80.0, 30.0)


def test_each_network_has_the_mean_of_its_own():
    trials = [make_trial(1, finished(80, 10)), make_trial(2, finished(70, 20))]
    scores = [
        Score(subject=trial.arch.key, seed=seed, result=80.0, balanced=balanced)
        for trial, row in zip(trials, [(40.0, 50.0), (60.0, 80.0)], strict=True)
        for seed, balanced in enumerate(row)
    ]
    assert [one.mean_balanced_pct for one in confirmations(trials, scores)] == [45.0, 70.0]


@pytest.mark.slow
@pytest.mark.parametrize(("classes", "unbalanced"), [((20, 20), False), ((20, 39), False), ((20, 40), True)])
def test_twice_the_images_are_unbalanced(tmp_path, classes, unbalanced):
    folder = write_images(tmp_path / "images", dict(zip("ab", classes, strict=True)))
    data = load_dataset(str(folder), image_size=32, max_train=10_000)
    assert data.is_unbalanced == unbalanced
    assert data.images_per_class == list(classes)
    assert any("unbalanced" in note for note in data.notes) == unbalanced
    scores = list(ShortTrain(RECIPE, "cpu").run(ArchConfig.mobilevitv2(0.25), data, seed=0, test_on="selection"))
    assert [score.balanced is not None for score in scores] == [unbalanced] * 2


def test_balanced_accuracy_is_shown_wherever_accuracy_is(tmp_path, run_on, monkeypatch):
    write_images(tmp_path / "images", {"many": 80, "middle": 40, "few": 5})
    monkeypatch.setattr(tools, "ShortTrain", lambda *_, **__: BalancedProxy())
    result = run_on("images")
    assert result.exit_code == 0, result.output
    assert "unbalanced, from 5 images in use (few) to 80 (many)" in result.output
    assert result.output.count("(balanced 55.00 %)") >= 4  # trials and the confirmation
    assert "Balanced accuracy" in result.output
    rows = pd.read_csv(tmp_path / "results" / "one" / "pareto.csv")
    trained = rows[rows.outcome == "finished"]
    assert len(trained)
    assert (trained.balanced_pct == 55).all()
    assert (rows.confirmed_balanced_pct.dropna() == 55).all()
    assert rows.confirmed_balanced_pct.notna().equals(rows.confirmed_pct.notna())
    status = CliRunner().invoke(cli, ["status", "one", "--json"]).output
    assert json.loads(status)["best"]["confirmed_balanced_pct"] == 55
    report = (tmp_path / "results" / "one" / "report.html").read_text()
    assert "balanced %" in report
    assert "Balanced accuracy" in report


@pytest.mark.slow
def test_nothing_is_said_where_classes_are_balanced(tmp_path, run_on, monkeypatch):
    write_images(tmp_path / "images", {"a": 20, "b": 20})
    monkeypatch.setattr(tools, "ShortTrain", lambda *_, **__: BalancedProxy())
    assert "balanced" not in run_on("images").output.lower()
    assert pd.read_csv(tmp_path / "results" / "one" / "pareto.csv").balanced_pct.isna().all()
    assert "balanced %" not in (tmp_path / "results" / "one" / "report.html").read_text()
