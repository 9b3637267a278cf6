"""What proxies and devices may give: numbers that can be none, and exceptions of any kind."""

import json
import math
from contextlib import nullcontext
from dataclasses import replace
from decimal import Decimal
from fractions import Fraction
from functools import partial

import numpy as np
import pytest
from click.testing import CliRunner

from fakes import FormulaProxy, fake_exporter, macs_device, measurement
from mvit2_search.arch import ArchConfig, published
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable, DataError, MeasurementError, StorageError
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.records import Failed, Prediction, Score, score_fault
from mvit2_search.records.codec import NO_RECORD, from_json
from mvit2_search.store import open_study
from mvit2_search.system.signals import Terminated
from mvit2_search.train.proxies import EpochScore

WIDTHS = [published(f"mobilevitv2-{width}").key for width in ("0.5", "0.75", "1.0", "1.25")]


class Odd(FormulaProxy):
    """Gives something else than scores in some trainings, which are counted from 1."""

    def __init__(self, odd, trainings=(5,)):
        super().__init__()
        self.odd = dict.fromkeys(trainings, odd) if callable(odd) else dict(zip(trainings, odd, strict=True))

    def run(self, arch, dataset, *, seed, test_on):
        usual = super().run(arch, dataset, seed=seed, test_on=test_on)
        odd = self.odd.get(len(self.trained) + 1)
        if odd is None:
            return usual
        self.trained.append((arch.key, seed, test_on))
        return odd()


def gives(*values):
    return lambda: iter([EpochScore(epoch=i, score=value) for i, value in enumerate(values, 1)])


def raises(error):
    def odd():
        yield EpochScore(epoch=1, score=30.0)
        raise error

    return odd


ODD = {
    "nan": gives(30.0, math.nan),
    "nan before the last": gives(math.nan, 30.0),
    "inf": gives(30.0, math.inf),
    "-inf": gives(30.0, -math.inf),
    "-5": gives(30.0, -5),
    "150": gives(30.0, 150.0),
    "1e308": gives(1e308),
    "huge": gives(10**400),
    "complex": gives(30.0, 40 + 1j),
    "text": gives(30.0, "40"),
    "none": gives(None),
    "truth": gives(True),
    "array": gives(np.array([40.0, 50.0])),
    "numpy nan": gives(np.float32("nan")),
    "decimal": gives(Decimal("NaN")),
    "nothing": gives(),
    "no iterator": lambda: None,
    "no scores": lambda: iter([40.0]),
    "no last score": lambda: iter([EpochScore(epoch=1, score=30.0), None]),
    "ValueError": raises(ValueError("bad shape\nand more")),
    "KeyError": raises(KeyError("x")),
    "MemoryError": raises(MemoryError()),
    "AssertionError": raises(AssertionError()),
    "OSError": raises(OSError(28, "No space left on device")),
    "MeasurementError": raises(MeasurementError("what")),
    "StopIteration": raises(StopIteration()),
    "SystemExit": raises(SystemExit(0)),
    "GeneratorExit": raises(GeneratorExit()),
}


@pytest.mark.slow
def test_what_is_no_accuracy_is_that_trials_failure(tmp_path, run_with_fakes):
    every_second = range(4, 4 + 2 * len(ODD), 2)
    random = partial(run_with_fakes, "--sampler", "random", "--trials")
    done = random(str(len(ODD)), proxy=Odd(ODD.values(), every_second))
    assert done.exit_code == 0, done.output
    study = open_study(tmp_path / "results" / "test")
    failed = [t.outcome for t in study.trials() if isinstance(t.outcome, Failed)]
    assert [one.reason for one in failed] == ["training"] * len(ODD)
    for one, name in zip(failed, ODD, strict=True):
        assert "\n" not in one.message, name
        assert one.message in done.output, name
    assert sum(t.is_trained_candidate for t in study.trials()) == len(ODD)
    again = random(str(len(ODD) + 1))
    assert again.exit_code == 0, again.output
    assert CliRunner().invoke(cli, ["report", str(study.folder)]).exit_code == 0


@pytest.mark.slow
@pytest.mark.parametrize("name", ["ValueError", "no iterator"])
def test_the_class_and_the_first_line_of_an_exception_are_kept(tmp_path, run_with_fakes, name):
    run_with_fakes(proxy=Odd(ODD[name]))
    study = open_study(tmp_path / "results" / "test")
    (failed,) = [t for t in study.trials() if isinstance(t.outcome, Failed)]
    assert failed.outcome.message.startswith(
        {"ValueError": "ValueError: bad shape", "no iterator": "TypeError: "}[name]
    )
    assert "and more" not in failed.outcome.message


@pytest.mark.slow
def test_other_numbers_are_numbers(tmp_path, run_with_fakes):
    values = [np.float32(60), np.int64(61), 62, Fraction(63)]
    done = run_with_fakes(proxy=Odd([gives(30.0, value) for value in values], range(4, 8)))
    assert done.exit_code == 0, done.output
    trials = open_study(tmp_path / "results" / "test").trials()
    assert [t.outcome.score for t in trials[-4:]] == [60.0, 61.0, 62.0, 63.0]


@pytest.mark.slow
def test_a_balanced_accuracy_of_numpy_is_a_number(tmp_path, run_with_fakes):
    score = EpochScore(epoch=1, score=60.0, balanced=np.float32(50))
    done = run_with_fakes(proxy=Odd(lambda: iter([score])))
    assert done.exit_code == 0, done.output
    assert 50.0 in {getattr(t.outcome, "balanced", None) for t in open_study(tmp_path / "results/test").trials()}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nan", "150", "nothing", "ValueError"])
def test_in_the_confirmation_and_in_the_control_too(tmp_path, run_with_fakes, name):
    done = run_with_fakes("--control", "1", proxy=Odd(ODD[name], (8, 9)))
    assert done.exit_code == 0, done.output
    study = open_study(tmp_path / "results" / "test")
    assert len([t for t in study.controls() if isinstance(t.outcome, Failed)]) == 2
    other = run_with_fakes("--study", "other", proxy=Odd(ODD[name], (8, 9)))
    assert other.exit_code == 0, other.output
    assert sum(isinstance(s.result, Failed) for s in open_study(tmp_path / "results" / "other").scores()) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("error", "code"), [(StorageError("disk"), 4), (BackendUnavailable("gone"), 4), (DataError("images"), 4)]
)
def test_what_is_no_trials_fault_ends_the_run(tmp_path, run_with_fakes, error, code):
    done = run_with_fakes(proxy=Odd(raises(error)))
    assert done.exit_code == code
    assert done.stderr == f"error: {error}\n"


@pytest.mark.slow
@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (Terminated(), 143)])
def test_what_tells_the_run_to_end_ends_it(tmp_path, run_with_fakes, error, code):
    assert run_with_fakes(proxy=Odd(raises(error))).exit_code == code
    assert run_with_fakes().exit_code == 0
    trials = open_study(tmp_path / "results" / "test").trials()
    assert [t.outcome.reason for t in trials if isinstance(t.outcome, Failed)] == ["interrupted"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["nan", "AssertionError"])
def test_five_in_a_row_end_the_run_with_one_line(run_with_fakes, name):
    done = run_with_fakes(proxy=Odd(ODD[name], range(5, 101)))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the last 5 trials all failed in training: ")
    assert done.stderr.count("\n") == 1


class OddDevice(ScriptedDevice):
    """Fails, or gives odd times, for the first networks that are not published, one each; None is none."""

    def time(self, candidate, reference, plan):
        key = ArchConfig.from_json(json.loads(candidate.path.read_text())).key
        samples = super().time(candidate, reference, plan)
        if key in WIDTHS or candidate.sha256.startswith(f"{key}-1000"):
            return samples
        if key not in self.met:
            self.met[key] = next(self.odd, None)
        return self.met[key](samples) if self.met[key] else samples


def odd_device(*odd):
    device = OddDevice(script=macs_device().script)
    device.met, device.odd = {}, iter(odd)
    return device


def raising(error):
    def odd(samples):
        raise error

    return odd


def times(value):
    return lambda samples: replace(samples, candidate_ms=(value,) * len(samples.candidate_ms))


TIMES = {
    "RuntimeError": raising(RuntimeError("driver\ncrashed")),
    "TypeError": raising(TypeError()),
    "SystemExit": raising(SystemExit()),
    "nothing": lambda samples: None,
    "text": times("12"),
    "nan": times(math.nan),
    "0": times(0.0),
    "-1": times(-1.0),
    "1e9": times(1e9),
    "1e-9": times(1e-9),
}


@pytest.mark.slow
def test_what_is_no_latency_is_that_trials_failure(tmp_path, run_with_fakes):
    every_second = [one for odd in TIMES.values() for one in (odd, None)]
    done = run_with_fakes("--trials", str(len(TIMES)), device=odd_device(*every_second))
    assert done.exit_code == 0, done.output
    study = open_study(tmp_path / "results" / "test")
    failed = [t.outcome for t in study.trials() if isinstance(t.outcome, Failed)]
    assert [one.reason for one in failed] == ["measurement"] * len(TIMES)
    assert sum(t.is_trained_candidate for t in study.trials()) == len(TIMES)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["1e9", "1e-9"])
def test_what_is_no_latency_is_not_kept_for_other_studies(tmp_path, run_with_fakes, name):
    assert run_with_fakes(device=odd_device(TIMES[name])).exit_code == 0
    assert run_with_fakes("--study", "new").exit_code == 0
    assert not [t for t in open_study(tmp_path / "results" / "new").trials() if isinstance(t.outcome, Failed)]


@pytest.mark.slow
def test_a_reference_that_takes_no_time_or_for_ever_is_not_kept(tmp_path, run_with_fakes):
    for ms in (1e-9, 1e9):
        done = run_with_fakes(device=ScriptedDevice(script=lambda *_, ms=ms: ms))
        assert (done.exit_code, done.stderr.count("\n")) == (4, 1)
        assert "a latency of" in done.stderr
    assert run_with_fakes().exit_code == 0
    (kept,) = tmp_path.glob("results/.latencies/*/reference.json")
    row = json.loads(kept.read_text())
    kept.write_text(json.dumps({**row, "known": {**row["known"], "reference_ms": 1e9}}))
    done = run_with_fakes("--study", "new")
    assert done.exit_code == 4
    assert f"{kept}: cannot be read (a latency of 1000000000.0 ms" in done.stderr


@pytest.mark.slow
def test_five_failed_timings_in_a_row_end_the_run_with_one_line(run_with_fakes):
    done = run_with_fakes(device=odd_device(*5 * [TIMES["RuntimeError"]]))
    assert done.exit_code == 1
    assert done.stderr.startswith("error: the last 5 trials all failed in measurement: RuntimeError: driver;")
    assert done.stderr.count("\n") == 1


def test_an_exception_of_an_export_is_that_trials_failure(tmp_path, run_with_fakes):
    broken = []

    def exporter(arch, folder, **options):
        if arch.key not in WIDTHS and not broken:
            broken.append(arch.key)
            raise NotImplementedError("no such operator")
        return fake_exporter(arch, folder, **options)

    done = run_with_fakes(exporter=exporter)
    assert done.exit_code == 0, done.output
    assert "NotImplementedError: no such operator" in done.output


def test_a_reference_that_fails_is_one_line(run_with_fakes):
    device = ScriptedDevice(script=lambda *_: 1 / 0)
    done = run_with_fakes(device=device)
    assert done.exit_code == 4
    assert done.stderr == "error: ZeroDivisionError: division by zero\n"


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        (0, None),
        (100.0, None),
        (-1e-9, "0 to 100"),
        (100.001, "0 to 100"),
        (math.nan, "0 to 100"),
        ("5", "no number"),
    ],
)
def test_accuracies(value, fault):
    found = score_fault(value)
    assert found is None if fault is None else fault in found
    with nullcontext() if fault is None else pytest.raises(NO_RECORD):
        from_json({"subject": "x", "seed": 1, "result": value}, Score)


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"low_ms": -1.0}, None),  # a wide interval may go below nothing
        ({"latency_ms": 1e-5}, "expected from"),
        ({"latency_ms": 2e6}, "expected from"),
        ({"latency_ms": math.nan}, "expected from"),
        ({"latency_ms": -3.0, "low_ms": -4.0, "high_ms": -2.0}, "expected from"),
        ({"low_ms": 12.5}, "own interval"),
        ({"high_ms": 11.5}, "own interval"),
        ({"high_ms": math.inf}, "own interval"),
    ],
)
def test_latencies(changes, fault):
    given = {"latency_ms": 12.0, "low_ms": 11.0, "high_ms": 13.0} | changes
    for make in (measurement, partial(Prediction, predictor="x")):
        with nullcontext() if fault is None else pytest.raises(MeasurementError, match=fault):
            make(**given)
