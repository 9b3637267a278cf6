"""What a task promises, and how it is found by its name."""

import pytest
import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.models import build_model
from mvit2_search.records import METRICS, DataInputs, Inputs
from mvit2_search.task import TASKS, make_task

CLASSES = ("a", "b", "c")


class TaskContract:
    """Tests of every task: a subclass gives its `name` and `labels_N` of six images of three classes."""

    @pytest.fixture
    def task(self):
        return make_task(self.name, CLASSES)

    @pytest.fixture
    def outputs(self, task):
        torch.manual_seed(0)
        network = build_model(ArchConfig.mobilevitv2(0.25, image_size=32), task.head)
        return network(torch.rand(len(self.labels_N), 3, 32, 32))

    def test_its_metric_is_that_of_its_records(self, task):
        assert task.metric is METRICS[self.name]

    def test_its_loss_is_a_number_that_can_be_lowered(self, task, outputs):
        loss = task.loss(outputs, self.labels_N, label_smoothing=0.1)
        assert loss.shape == ()
        (gradient,) = torch.autograd.grad(loss, outputs)
        lowered = task.loss(outputs - 0.1 * gradient, self.labels_N, label_smoothing=0.1)
        assert 0 < lowered.item() < loss.item()

    def test_right_answers_score_100_and_wrong_ones_less(self, task, outputs):
        answers_N, labels_N = task.answers(outputs).numpy(), self.labels_N.numpy()
        assert len(answers_N) == len(labels_N)
        best = task.score(labels_N, labels_N)
        assert (best.score, best.balanced) == (100, 100)
        wrong = task.score((labels_N + 1) % len(CLASSES), labels_N)
        assert 0 <= wrong.score < 100
        assert 0 <= wrong.balanced < 100


class TestClassification(TaskContract):
    name = "classification"
    labels_N = torch.tensor([0, 1, 2, 0, 0, 0])

    def test_balanced_accuracy_counts_classes_alike(self, task):
        only_the_largest = task.score((0 * self.labels_N).numpy(), self.labels_N.numpy())
        assert only_the_largest.score == pytest.approx(400 / 6)
        assert only_the_largest.balanced == pytest.approx(100 / 3)

    def test_the_head_has_one_output_per_class(self, task, outputs):
        assert task.head.classes == outputs.shape[1] == len(CLASSES)


def test_every_task_has_a_metric_and_a_contract():
    tested = {contract.name for contract in TaskContract.__subclasses__()}
    assert set(TASKS) == set(METRICS) == tested


def test_an_unknown_task_is_refused_by_name():
    with pytest.raises(SpecError, match="`task` 'poetry'"):
        make_task("poetry", CLASSES)
    data = DataInputs(name="x", fingerprint="0", classes=CLASSES, train=1, selection=1, confirmation=1)
    with pytest.raises(SpecError, match="`task` 'poetry': expected classification"):
        Inputs(space={}, data=data, latency_budget="1ms", training={}, task="poetry")
