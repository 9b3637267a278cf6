"""What every executor promises, and what a search does with the trainings that it submits."""

from types import SimpleNamespace

import pytest

from fakes import FormulaProxy
from mvit2_search.arch import published
from mvit2_search.errors import StorageError, TrainingError
from mvit2_search.execute.inline import InlineExecutor
from mvit2_search.execute.protocol import TrainingJob, TrainingResult
from mvit2_search.search.events import Listener
from mvit2_search.search.runner import Jobs
from mvit2_search.system.signals import Interrupt, Terminated
from mvit2_search.train.proxies import EpochScore

DATASET = SimpleNamespace(classes=("a", "b"), fingerprint="images")  # as much as the formula looks at
SMALL, LARGE = published("mobilevitv2-0.5"), published("mobilevitv2-1.0")


def job(arch=SMALL, **changes):
    usual = {"training": {"proxy": "formula"}, "seed": 0, "part": "selection", "data": "images"}
    return TrainingJob(arch=arch, **(usual | changes))


class Steps(FormulaProxy):
    """Three epochs; notes those that were asked for. `then` happens after the first."""

    def __init__(self, then=lambda: None):
        super().__init__()
        self.then, self.asked = then, []

    def run(self, arch, dataset, *, seed, test_on):
        for epoch in (1, 2, 3):
            self.asked.append((arch.key, epoch))
            yield EpochScore(epoch=epoch, score=10.0 * epoch + seed)
            self.then()


def raising(error):
    def then():
        raise error

    return then


class ExecutorContract:
    """A test class of an executor gives `executor(proxy)`."""

    def executor(self, proxy):
        raise NotImplementedError

    def test_scores_stream_and_the_result_has_them_all(self):
        running = self.executor(FormulaProxy()).submit(job())
        scores = list(running)
        assert [score.epoch for score in scores] == [1, 2]
        assert running.result() == TrainingResult(ending="finished", scores=tuple(scores))

    def test_the_result_can_be_had_without_looking_at_the_scores(self):
        result = self.executor(FormulaProxy()).submit(job()).result()
        assert (result.ending, len(result.scores)) == ("finished", 2)

    def test_seed_and_part_reach_the_proxy(self):
        proxy = FormulaProxy()
        self.executor(proxy).submit(job(LARGE, seed=7, part="confirmation")).result()
        assert proxy.trained == [(LARGE.key, 7, "confirmation")]

    def test_no_score_comes_after_it_was_told_to_stop(self):
        running = self.executor(Steps()).submit(job())
        first = next(running)
        running.stop()
        assert list(running) == []
        assert running.result() == TrainingResult(ending="stopped", scores=(first,))

    def test_stopping_what_has_ended_changes_nothing(self):
        running = self.executor(FormulaProxy()).submit(job())
        before = running.result()
        running.stop()
        assert running.result() == before

    @pytest.mark.parametrize(
        ("error", "failure"),
        [
            (TrainingError("no loss"), "no loss"),
            (ValueError("bad\nshape"), "ValueError: bad"),
            (SystemExit(0), "0"),
        ],
    )
    def test_a_failed_training_is_a_result(self, error, failure):
        running = self.executor(Steps(raising(error))).submit(job())
        assert [score.epoch for score in running] == [1]
        result = running.result()
        assert (result.ending, len(result.scores)) == ("failed", 1)
        assert failure in result.failure

    def test_what_is_no_accuracy_is_a_failure(self):
        result = self.executor(Steps()).submit(job(seed=80)).result()  # 90, 100, 110 %
        assert (result.ending, len(result.scores)) == ("failed", 2)
        assert "110" in result.failure

    @pytest.mark.parametrize("error", [StorageError("the disk"), KeyboardInterrupt()])
    def test_what_is_no_fault_of_the_training_is_raised(self, error):
        running = self.executor(Steps(raising(error))).submit(job())
        next(running)
        for ask in (lambda: next(running), running.result):
            with pytest.raises(type(error)):
                ask()

    def test_trainings_may_take_turns(self):
        executor = self.executor(FormulaProxy())
        alone = [executor.submit(job(arch)).result() for arch in (SMALL, LARGE)]
        both = [executor.submit(job(arch)) for arch in (SMALL, LARGE)]
        assert list(zip(*both, strict=True)) == list(zip(*(one.scores for one in alone), strict=True))

    @pytest.mark.parametrize("other", [{"data": "others"}, {"training": {"proxy": "long"}}])
    def test_a_job_for_another_training_or_other_images_is_refused(self, other):
        with pytest.raises(ValueError, match="another training or other images"):
            self.executor(FormulaProxy()).submit(job(**other))


class TestInline(ExecutorContract):
    def executor(self, proxy):
        return InlineExecutor(proxy, DATASET)

    def test_an_epoch_that_is_not_asked_for_is_not_trained(self):
        proxy = Steps()
        running = self.executor(proxy).submit(job())
        assert proxy.asked == []
        next(running)
        running.stop()
        running.result()
        assert proxy.asked == [(SMALL.key, 1)]


class Heard(Listener):
    def __init__(self):
        self.heard = []

    def working(self, text):
        self.heard.append(text)


def jobs(proxy, interrupt):
    return Jobs(
        latencies=None,
        executor=InlineExecutor(proxy, DATASET),
        training=proxy.settings(),
        data="images",
        listener=Heard(),
        interrupt=interrupt,
    )


def test_the_listener_hears_of_each_epoch():
    work = jobs(Steps(), Interrupt())
    assert len(list(work.follow(work.train(SMALL, seed=0, part="selection")))) == 3
    assert work.listener.heard == ["training", *(f"training, epoch {i}: {i}0.0 %" for i in (1, 2, 3))]


def test_a_training_is_stopped_where_the_run_has_to_end():
    interrupt, proxy = Interrupt(), Steps()
    work = jobs(proxy, interrupt)
    running = work.train(SMALL, seed=0, part="selection")
    scores = work.follow(running)
    next(scores)
    interrupt.code = 143
    with pytest.raises(Terminated):
        next(scores)
    assert running.result().ending == "stopped"
    assert len(proxy.asked) == 2


def test_a_training_that_fails_as_the_run_has_to_end_does_not_count_as_failed():
    """The signal may have ended the training's own processes first."""
    interrupt = Interrupt()
    work = jobs(Steps(lambda: setattr(interrupt, "code", 143) or raising(OSError("gone"))()), interrupt)
    with pytest.raises(Terminated):
        list(work.follow(work.train(SMALL, seed=0, part="selection")))
