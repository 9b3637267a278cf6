"""Full trainings that are killed, stopped and damaged, and go on to the same weights."""

import json
import os
import random
import re
import resource
import shlex
import shutil
import signal
import sys
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

import mvit2_search.train.full as full
from forks import exit_code, fork, in_fork
from mvit2_search.arch import published_networks
from mvit2_search.cli import cli
from mvit2_search.cli.training_progress import TrainingProgress
from mvit2_search.errors import StorageError, StudyConflict, TrainingError
from mvit2_search.train.full import train_fully
from mvit2_search.train.loop import Trainer
from trainings import (
    ARCH,
    RECIPE,
    Quiet,
    Stop,
    alone,
    damage,
    die_at,
    job_in,
    results,
    stopping_after,
    trained,
    trained_in_fork,
)

MIXING = {"mixup": 0.2, "cutmix": 1.0, "erasing": 0.5, "randaugment_ops": 2, "crop_area": 0.4, "test_crop": 0.8}
V1 = replace(published_networks()["mobilevitv1-xxs"], image_size=32)


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The results of a training that nothing interrupts."""
    folder = tmp_path_factory.mktemp("unbroken")
    assert trained_in_fork(folder) == 0
    return results(folder)


def stop(folder, steps, **job):
    """Train there for so many more steps."""
    with pytest.raises(Stop):
        train_fully(job_in(folder, **job), listener=Quiet(), check_interrupt=stopping_after(steps))


def saving_after_each_step():
    full._SAVE_EVERY_S = full._SAVE_BEFORE_TEST_S = -1.0


@pytest.mark.slow
@pytest.mark.parametrize(
    "job",
    [
        {"recipe": replace(RECIPE, optimizer="sgd", settle=False, ema_momentum=0.01, decay="epoch")},
        {"recipe": replace(RECIPE, **MIXING, settle=False), "accumulate": 2},
        {"arch": V1, "recipe": replace(RECIPE, optimizer="sgd")},
        {"recipe": replace(RECIPE, **MIXING), "precision": "fp16", "workers": 1},
    ],
    ids=["sgd", "mixing in parts", "dropout", "half precision and workers"],
)
def test_a_training_that_was_stopped_in_epochs_and_between_them_ends_with_the_same_weights(tmp_path, job):
    trained(tmp_path / "unbroken", **job)
    for steps in (2, 2, 1):  # up to 2, 3 and 4 of 6
        stop(tmp_path / "stopped", steps, **job)
    trained(tmp_path / "stopped", **job)
    assert results(tmp_path / "stopped") == results(tmp_path / "unbroken")


@pytest.mark.slow
def test_a_seed_makes_a_difference(tmp_path):
    once = replace(RECIPE, epochs=1, images_per_epoch=8)
    for seed in (0, 1):
        trained(tmp_path / str(seed), recipe=once, seed=seed)
    assert results(tmp_path / "0") != results(tmp_path / "1")


@pytest.mark.slow
def test_a_training_that_dies_at_an_operation_on_a_file_ends_with_the_same_weights(tmp_path, unbroken):
    """As it saves after each step, it does 174 of them; it dies at two."""

    def run(folder, operation):
        saving_after_each_step()
        die_at(operation, folder)
        trained(folder)

    for operation in (2, 68, 134, 160):
        folder = tmp_path / str(operation)
        for deadly in (operation, 9):
            assert in_fork(lambda: alone(lambda: run(folder, deadly))) == 137  # noqa: B023
        assert trained_in_fork(folder) == 0
        assert results(folder) == unbroken, operation
        left = {path.name for path in folder.iterdir()}
        assert left == {"training.lock", "checkpoint-last", "checkpoint-previous", "checkpoint-best"}, operation


@pytest.mark.slow
def test_a_training_that_is_killed_at_random_moments_ends_with_the_same_weights(tmp_path, unbroken):
    def run():
        saving_after_each_step()
        real = Trainer.step
        Trainer.step = lambda self, batch: time.sleep(0.2) or real(self, batch)  # on a fast machine too
        trained(tmp_path)

    rng = random.Random(0)
    killed = 0
    for _ in range(8):
        process = fork(lambda: alone(run))
        time.sleep(rng.uniform(0.05, 0.5))
        os.kill(process, signal.SIGKILL)
        killed += exit_code(process) == -signal.SIGKILL
    assert killed > 1
    assert trained_in_fork(tmp_path) == 0
    assert results(tmp_path) == unbroken


@pytest.mark.slow
def test_a_training_is_saved_every_ten_minutes(tmp_path, monkeypatch):
    now_s = 0.0

    class Slow(Quiet):
        def stepped(self, done, plan):
            nonlocal now_s
            now_s += 201

    saved = []
    monkeypatch.setattr(full, "time", SimpleNamespace(monotonic=lambda: now_s))
    monkeypatch.setattr(full, "write_checkpoint", lambda path, _, state: saved.append((path.name, state["done"])))
    recipe = replace(RECIPE, epochs=1, images_per_epoch=56)
    state = train_fully(job_in(tmp_path, recipe=recipe), listener=Slow())
    last = [
        (f"checkpoint-{'best' if place == 4 else 'last'}", done) for place, done in enumerate((0, 3, 6, 7, 7, 7))
    ]
    assert saved == last
    assert state.rows[0].seconds == 7 * 201


@pytest.mark.slow
def test_an_epoch_that_is_trained_is_saved_before_a_long_test(tmp_path, monkeypatch):
    def evaluate(*args, **kwargs):
        raise Stop

    monkeypatch.setattr(full, "_SAVE_BEFORE_TEST_S", -1.0)
    with monkeypatch.context() as patch:
        patch.setattr(full, "evaluate", evaluate)
        with pytest.raises(Stop):
            trained(tmp_path / "stopped")
    listener = Quiet()
    train_fully(job_in(tmp_path / "stopped"), listener=listener)
    assert listener.began_at == 3
    trained(tmp_path / "unbroken")
    assert results(tmp_path / "stopped") == results(tmp_path / "unbroken")


@pytest.mark.slow
def test_the_mean_loss_and_the_learning_rate_are_those_of_the_whole_epoch(tmp_path):
    trained(tmp_path / "unbroken")
    expected, _ = results(tmp_path / "unbroken")
    losses = []

    class Listening(Quiet):
        def started(self, plan, state):
            losses.append(state.losses)

    stop(tmp_path / "stopped", 2)
    state = train_fully(job_in(tmp_path / "stopped"), listener=Listening())
    assert len(losses[0]) == 2
    assert [row.loss for row in state.rows] == [row.loss for row in expected]
    assert [row.learning_rate for row in state.rows] == [job_in(tmp_path).plan.rate(step) for step in (2, 5)]


@pytest.mark.slow
def test_a_finished_training_is_not_trained_again(tmp_path):
    state = trained(tmp_path)
    before = results(tmp_path)
    listener = Quiet()
    assert train_fully(job_in(tmp_path), listener=listener) == state
    assert (listener.began_at, listener.rows, results(tmp_path)) == (6, [], before)


@pytest.fixture(scope="module")
def half(tmp_path_factory):
    """A training that was stopped after four of six steps; its checkpoint before is of the third."""
    folder = tmp_path_factory.mktemp("half")
    torch.set_num_threads(1)
    stop(folder, 3 + 1 + 1)  # the test of an epoch is a turn of its own
    return folder


def test_a_damaged_checkpoint_is_said_and_the_one_before_taken(tmp_path, half):
    folder = shutil.copytree(half, tmp_path / "damaged")
    last, previous = folder / "checkpoint-last", folder / "checkpoint-previous"
    damage(last / "model.safetensors", "flipped")
    listener = Quiet()
    with pytest.raises(Stop):
        train_fully(job_in(folder), listener=listener, check_interrupt=stopping_after(0))
    assert listener.began_at == 3
    assert listener.warnings == [f"{last}: damaged: model.safetensors; going on from {previous}"]
    assert json.loads((previous / "state.json").read_text())["done"] == 3, "the damaged one took its place"


@pytest.mark.slow
def test_a_damaged_checkpoint_changes_nothing_in_the_end(tmp_path, half, unbroken):
    folder = shutil.copytree(half, tmp_path / "damaged")
    damage(folder / "checkpoint-last" / "model.safetensors", "flipped")
    assert trained_in_fork(folder) == 0
    assert results(folder) == unbroken


def test_two_damaged_checkpoints_are_an_error_and_stay(tmp_path, half):
    folder = shutil.copytree(half, tmp_path / "damaged")
    damage(folder / "checkpoint-last" / "model.safetensors", "truncated")
    damage(folder / "checkpoint-previous" / "state.json", "missing")
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(StorageError) as raised:
        trained(folder)
    assert str(raised.value) == (
        f"{folder}/checkpoint-last: damaged: model.safetensors; {folder}/checkpoint-previous: damaged: "
        "state.json; give another `out`, or remove the folder to start anew"
    )
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_a_best_checkpoint_without_a_last_one_is_not_overwritten(tmp_path, half):
    folder = shutil.copytree(half, tmp_path / "half")
    shutil.rmtree(folder / "checkpoint-last")
    shutil.rmtree(folder / "checkpoint-previous")
    with pytest.raises(StorageError, match=r"has checkpoint-best and neither .*; give another `out`"):
        trained(folder)
    assert (folder / "checkpoint-best").is_dir()


def test_a_checkpoint_of_another_version_is_an_error(tmp_path, half):
    from mvit2_search.train.checkpoint import write_checkpoint

    write_checkpoint(tmp_path / "checkpoint-last", {}, {"something": "else"})
    with pytest.raises(StorageError, match=r"written by another version of this program: .*another `out`$"):
        trained(tmp_path)


@pytest.mark.parametrize(
    ("job", "name"),
    [
        ({"recipe": replace(RECIPE, epochs=3)}, "`epochs`: was 2, now 3"),
        ({"arch": replace(V1, image_size=32)}, "`arch`: was "),
        ({"seed": 1}, "`seed`: was 0, now 1"),
    ],
)
def test_other_inputs_are_named(half, job, name):
    with pytest.raises(StudyConflict) as raised:
        trained(half, **job)
    assert str(raised.value).startswith(f"{half}: this training was started with other inputs: {name}")
    assert str(raised.value).endswith("repeat its command to go on, or give another `out`")


def test_other_images_are_other_inputs(half):
    job = job_in(half)
    other = replace(job, inputs=replace(job.inputs, data="others"))
    with pytest.raises(StudyConflict, match="started with other images: restore them"):
        train_fully(other, listener=Quiet())


def test_two_processes_cannot_train_in_one_folder(tmp_path):
    class Second(Quiet):
        def started(self, plan, state):
            with pytest.raises(StudyConflict, match="another process trains there"):
                trained(tmp_path)
            raise Stop

    with pytest.raises(Stop):
        train_fully(job_in(tmp_path), listener=Second())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:overflow")
def test_a_loss_that_is_not_finite_is_not_saved(tmp_path):
    recipe = replace(RECIPE, learning_rate=1e30, warmup_share=0.0, clip_norm=1e30, optimizer="sgd")
    for check in (lambda: None, stopping_after(2)):
        folder = tmp_path / str(check)
        with pytest.raises(TrainingError, match="the loss is not finite in epoch 1; try a lower `learning_rate`"):
            train_fully(job_in(folder, recipe=recipe), listener=Quiet(), check_interrupt=check)
        assert json.loads((folder / "checkpoint-last" / "state.json").read_text())["done"] == 0


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(StorageError, match="out: cannot write: File exists; give another `out`"):
        trained(tmp_path / "out")


SETTINGS = {"epochs": 2, "image-size": 32, "batch-size": 8, "images-per-epoch": 24, "warmup-share": 0.5}


@pytest.fixture
def command(tmp_path, images):
    """`mvit2-search train` in a forked process: its exit code, output and errors."""
    (tmp_path / "arch.yaml").write_text(json.dumps(ARCH.to_json()))

    def run(out, *more, before=lambda: None):
        words = ["train", tmp_path / "arch.yaml", "--data", images, "--out", out, "--train-on", "cpu"]
        words += ["--recipe", "proxy", *(f"--{name}={value}" for name, value in SETTINGS.items()), *more]
        words = [str(word) for word in words]
        names = [tmp_path / "output", tmp_path / "errors"]

        def work():
            torch.set_num_threads(1)
            for descriptor, name in enumerate(names, start=1):
                os.dup2(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
            sys.argv = ["mvit2-search", *words]
            before()
            try:
                cli()
            except SystemExit as err:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(err.code)

        code = in_fork(work)
        return code, *(name.read_text() for name in names)

    return run


@pytest.mark.slow
@pytest.mark.parametrize(
    ("number", "code", "word", "said"),
    [
        (signal.SIGTERM, 143, "Terminated.", ""),
        (signal.SIGINT, 130, "Stopped.", "Stopping after this step. Press Ctrl-C again to stop now."),
    ],
)
def test_a_signal_saves_and_the_same_command_goes_on(command, tmp_path, number, code, word, said):
    out = tmp_path / "it's out"

    def signalled():
        real = TrainingProgress.stepped

        def stepped(self, done, plan):
            real(self, done, plan)
            if done == 4:
                os.kill(os.getpid(), number)
                time.sleep(0.3)  # a thread takes it

        TrainingProgress.stepped = stepped

    found, printed, errors = command(out, before=signalled)
    assert (found, errors.strip()) == (code, said)
    *_, said, again = printed.splitlines()
    assert said == f"{word} The training is saved up to its newest checkpoint. To continue:"
    assert shlex.split(again)[:2] == ["mvit2-search", "train"]
    assert str(out) in shlex.split(again)
    assert json.loads((out / "checkpoint-last" / "state.json").read_text())["done"] == 4
    code, printed, errors = command(out)
    assert (code, errors) == (0, "")
    assert "Going on after step 4 of 6\n" in printed
    assert command(tmp_path / "unbroken")[0] == 0
    assert results(out) == results(tmp_path / "unbroken")
    assert rows_without_times(out) == rows_without_times(tmp_path / "unbroken")


def rows_without_times(folder):
    return [line.rpartition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_the_same_command_goes_on(command, tmp_path):
    def full_after_the_first_epoch():
        real = TrainingProgress.stepped

        def stepped(self, done, plan):
            real(self, done, plan)
            if done == 4:
                resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))

        TrainingProgress.stepped = stepped

    out = tmp_path / "out"
    code, _, errors = command(out, before=full_after_the_first_epoch)
    assert code == 4
    assert re.fullmatch(f"error: {out}/checkpoint-(best|last): cannot write: .*: once there is room, .*\n", errors)
    code, printed, errors = command(out)
    assert (code, errors) == (0, "")
    assert "Going on after step 3 of 6\n" in printed


@pytest.mark.slow
def test_what_is_wrong_with_a_folder_or_the_inputs_is_one_line(command, tmp_path, images):
    out, file = tmp_path / "out", tmp_path / "file"
    file.write_text("not weights")
    assert command(out, "--epochs", "1")[0] == 0
    for more, code, message in (
        (
            ["--epochs", "2"],
            3,
            "started with other inputs: --epochs: was 1, now 2; repeat its command to go on, or",
        ),
        (["--init", str(file)], 2, f"--init {file}: holds more than tensors, or is damaged: "),
        (["--out", str(file)], 4, f"{file}: cannot write: File exists; give another --out"),
        (["--out", "/proc/none"], 4, "/proc/none: cannot write: "),
    ):
        found, _, errors = command(out, *more)
        assert (found, errors.count("\n")) == (code, 1), errors
        assert message in errors
    next((images / "red").iterdir()).unlink()
    code, _, errors = command(out, "--epochs", "1")
    assert code == 3
    assert "started with other images: restore them, or give another --out" in errors
