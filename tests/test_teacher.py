"""Trainings that learn from a teacher: the loss, what is kept of its outputs, and which teachers there are."""

import json
import os
import re
import signal
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from PIL import Image
from torch import nn

from conftest import write_images
from exports import FEW, few
from forks import in_fork
from mvit2_search.arch import published_networks
from mvit2_search.arch.config import arch_yaml
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import BackendUnavailable, MeasurementError, SpecError, StudyConflict, TrainingError
from mvit2_search.export.formats import export_module
from mvit2_search.models import build_model
from mvit2_search.records import Recipe, TeacherInputs, TrainingInputs, TrainingState
from mvit2_search.records.codec import to_json
from mvit2_search.task.classification import Classification
from mvit2_search.train.augment import mixed
from mvit2_search.train.checkpoint import AVERAGED, write_checkpoint
from mvit2_search.train.full import job_outputs, train_fully
from mvit2_search.train.loader import Batch, mixture_generator
from mvit2_search.train.loop import Execution, Trainer
from mvit2_search.train.plan import resolve
from mvit2_search.train.ranks import Ranks
from mvit2_search.train.taught import KeptOutputs, TaughtLessons, packed, unpacked
from mvit2_search.train.teacher import Teacher, open_teacher
from trainings import ARCH, RECIPE, Quiet, Stop, alone, job_in, results, stopping_after

CPU = Execution(device="cpu")
V1 = replace(few(published_networks()["mobilevitv1-xxs"]), image_size=32)
NARROW = replace(ARCH, attention_dims=tuple(dim - 8 for dim in ARCH.attention_dims))


class Counted:
    """A teacher's network: which of the first two channels is lighter; it counts the images that it has seen."""

    def __init__(self, classes=2):
        self.seen, self.classes = 0, classes

    def __call__(self, x_NCSS):
        self.seen += len(x_NCSS)
        first_N2 = 20 * x_NCSS.mean((2, 3))[:, :2]
        return torch.cat([first_N2, first_N2.new_zeros(len(first_N2), self.classes - 2)], 1)


def teacher_of(network, *, classes=2, sha256="t", size=32):
    return Teacher(name="t", sha256=sha256, size=size, device="cpu", network=network, classes=classes)


def asked(temperature=1.0, weight=1.0, weights="t"):
    return TeacherInputs(weights=weights, temperature=temperature, weight=weight)


def taught_job(folder, network, *, sha256="t", temperature=1.0, weight=1.0, **job):
    made = job_in(folder, **job)
    inputs = replace(made.inputs, teacher=asked(temperature, weight, sha256))
    teacher = teacher_of(network, sha256=sha256)
    return replace(made, inputs=inputs, teacher=teacher, results=folder.parent / "results")


def taught(folder, network=None, **job):
    """What a training came to, and how many images its teacher saw."""
    network, listener = network or Counted(), Quiet()
    train_fully(taught_job(folder, network, **job), listener=listener)
    assert listener.warnings == []
    return results(folder), network.seen


def batch_of(count=8, size=32, classes=2, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, rng.integers(2, 256, (count, 1, 1, 3)), (count, size, size, 3)).astype(np.uint8)
    drawn = torch.stack([torch.zeros(count, dtype=torch.int64), torch.arange(count)], 1)
    return Batch(torch.from_numpy(pixels), torch.from_numpy(rng.integers(0, classes, count)), drawn)


def probabilities(logits_NK, temperature=1.0):
    """By NumPy, in double precision."""
    exact_NK = np.exp(np.asarray(logits_NK, np.float64) / temperature)
    return exact_NK / exact_NK.sum(1, keepdims=True)


@pytest.mark.slow
@pytest.mark.parametrize("mixing", [{}, {"mixup": 0.5}, {"cutmix": 1.0}], ids=["plain", "mixup", "cutmix"])
@pytest.mark.parametrize(("temperature", "weight"), [(1.0, 1.0), (4.0, 0.3)])
def test_the_loss_is_that_of_the_formula(mixing, temperature, weight):
    recipe = Recipe(image_size=32, batch_size=8, label_smoothing=0.2, **mixing)
    torch.manual_seed(0)
    model, batch, seen = build_model(ARCH, ClassifierHead(3)), batch_of(classes=3), []
    model.register_forward_hook(lambda module, inputs, outputs: seen.append(outputs.detach().double().numpy()))
    network = nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, 3)).requires_grad_(False)
    network[2].weight *= 8
    lessons = TaughtLessons(teacher_of(network, classes=3), asked(temperature, weight), execution=CPU, kept=None)
    plan, task = resolve(recipe, ARCH, 8), Classification(["a", "b", "c"])
    trainer = Trainer(model, plan, task=task, execution=CPU, seed=5, lessons=lessons)
    loss = trainer.step(batch).item()

    x_NCSS = batch.pixels_NSSC.permute(0, 3, 1, 2) / 255
    own = mixed(x_NCSS, recipe, mixture_generator(5, 0))[2] if mixing else 1.0
    assert own < 1 or not mixing
    partners = [1, 0, 3, 2, 5, 4, 7, 6]
    teacher_NK = probabilities(network(x_NCSS), temperature)
    assert np.ptp(teacher_NK, axis=0).min() > 0.1
    teacher_NK = own * teacher_NK + (1 - own) * teacher_NK[partners]
    student_NK = probabilities(seen[0], temperature)
    divergence = (teacher_NK * np.log(teacher_NK / student_NK)).sum(1).mean()
    labels_NK = 0.8 * np.eye(3)[batch.labels_N] + 0.2 / 3
    labels_NK = own * labels_NK + (1 - own) * labels_NK[partners]
    entropy = -(labels_NK * np.log(probabilities(seen[0]))).sum(1).mean()
    expected = (1 - weight) * entropy + weight * temperature**2 * divergence
    assert loss == pytest.approx(expected, abs=2e-3 * temperature)  # half precision of what is kept
    assert loss > 0.02


@pytest.mark.slow
def test_a_student_that_sees_no_right_label_learns_what_its_teacher_says():
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    truth_N = rng.integers(0, 2, 32)
    pixels = rng.integers(0, 100, (32, 32, 32, 3), dtype=np.uint8)
    pixels[np.arange(32), :, :, truth_N] += 100
    drawn = torch.stack([torch.zeros(32, dtype=torch.int64), torch.arange(32)], 1)
    batch = Batch(torch.from_numpy(pixels), torch.from_numpy(1 - truth_N), drawn)
    recipe = Recipe(epochs=40, image_size=32, images_per_epoch=32, batch_size=32, flip=False)
    model = build_model(ARCH, ClassifierHead(2))
    lessons = TaughtLessons(teacher_of(Counted()), asked(), execution=CPU, kept=None)
    task = Classification(["a", "b"])
    trainer = Trainer(model, resolve(recipe, ARCH, 32), task=task, execution=CPU, seed=0, lessons=lessons)
    for _ in range(40):
        trainer.step(batch)
    with torch.no_grad():
        answers_N = model(batch.pixels_NSSC.permute(0, 3, 1, 2) / 255).argmax(1).numpy()
    assert (answers_N == truth_N).mean() > 0.95


@pytest.mark.parametrize("classes", [2, 10, 11, 1000])
def test_the_ten_likeliest_classes_are_kept_and_the_others_share_the_rest(classes):
    logits_NK = torch.from_numpy(np.random.default_rng(0).normal(0, 3, (50, classes)))
    expected_NK = probabilities(logits_NK)
    order_NK = np.argsort(-expected_NK, 1)
    others_NK = order_NK[:, 10:]
    if classes > 10:
        rest_N1 = np.take_along_axis(expected_NK, others_NK, 1).mean(1, keepdims=True)
        np.put_along_axis(expected_NK, others_NK, rest_N1, 1)
    rows = packed(logits_NK)
    found_NK = unpacked(rows, classes).double().exp().numpy()
    assert found_NK == pytest.approx(expected_NK, rel=5e-3)  # half a place of half precision at log p = -16
    assert found_NK.sum(1) == pytest.approx(np.ones(50), abs=2e-3)
    assert rows.itemsize == {2: 2 + 6, 10: 10 + 22, 11: 10 + 22, 1000: 20 + 22}[classes]


def test_a_teacher_that_is_certain_is_kept():
    rows = packed(torch.tensor([[1e6, 0.0, -1e6]]))
    assert unpacked(rows, 3).softmax(1).tolist() == [[1, 0, 0]]


@pytest.mark.slow
def test_another_network_and_a_repetition_learn_what_is_kept_and_ask_the_teacher_nothing(tmp_path):
    mixing = replace(RECIPE, epochs=1, crop_area=0.4, randaugment_ops=2, erasing=0.5)
    first, seen = taught(tmp_path / "first", recipe=mixing)
    assert seen == 24
    assert taught(tmp_path / "again", recipe=mixing) == (first, 0)
    for name, changed in {
        "other loss": {"temperature": 3.0, "weight": 0.5},
        "other network": {"arch": NARROW},
        "mixed, in parts": {"recipe": replace(mixing, mixup=0.2), "accumulate": 2},
    }.items():
        found, seen = taught(tmp_path / name, **{"recipe": mixing, **changed})
        assert seen == 0, name
        assert found != first, name


@pytest.mark.slow
def test_a_longer_training_asks_for_what_is_new(tmp_path):
    once = replace(RECIPE, epochs=1, images_per_epoch=16)
    assert taught(tmp_path / "short", recipe=once)[1] == 16
    assert taught(tmp_path / "long", recipe=replace(once, images_per_epoch=40))[1] == 40 - 16


def test_what_is_kept_is_for_trainings_that_draw_and_compute_the_same(tmp_path):
    def folder(**changed):
        job = {key: value for key, value in changed.items() if key in ("seed", "sha256", "arch", "temperature")}
        execution = {key: value for key, value in changed.items() if key in ("precision", "accumulate")}
        recipe = {key: value for key, value in changed.items() if key not in {**job, **execution}}
        made = taught_job(tmp_path / "out", Counted(), recipe=replace(RECIPE, **recipe), **job, **execution)
        return job_outputs(made, pytest.fail).folder

    for changed in (
        *({"seed": 1}, {"sha256": "u"}, {"batch_size": 4}, {"precision": "bf16"}, {"flip": False}),
        *({"crop_area": 0.5}, {"test_crop": 0.9}, {"erasing": 0.1}, {"randaugment_ops": 1}),
        *({"randaugment_magnitude": 1}, {"image_size": 64}),
    ):
        assert folder(**changed) != folder(), changed
    for changed in (
        *({"arch": NARROW}, {"temperature": 2.0}, {"accumulate": 2}, {"epochs": 9}, {"learning_rate": 1.0}),
        *({"mixup": 0.2}, {"cutmix": 1.0}, {"images_per_epoch": 16}, {"label_smoothing": 0.0}),
    ):
        assert folder(**changed) == folder(), changed


class Deadly(Counted):
    """Kills the process when it is asked for the third time."""

    def __call__(self, x_NCSS):
        if self.seen == 16:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().__call__(x_NCSS)


@pytest.mark.slow
def test_a_killed_training_with_a_teacher_ends_with_the_same_weights(tmp_path):
    def run(folder, network):
        return in_fork(lambda: alone(lambda: taught(folder, network)))

    unbroken, killed = tmp_path / "a" / "unbroken", tmp_path / "b" / "killed"
    assert run(unbroken, Counted()) == 0
    block = 16 + 8 * 8  # bytes
    assert run(killed, Deadly()) == -signal.SIGKILL
    (file,) = (tmp_path / "b" / "results" / ".teachers").glob("*/0.rows")
    assert file.stat().st_size == 2 * block
    file.write_bytes(file.read_bytes()[:-5])
    assert run(killed, Deadly()) == -signal.SIGKILL
    assert file.stat().st_size == 3 * block
    assert run(killed, Counted()) == 0
    assert results(killed) == results(unbroken)
    (whole,) = (tmp_path / "a" / "results" / ".teachers").glob("*/0.rows")
    assert file.read_bytes() == whole.read_bytes()


@pytest.fixture
def kept(tmp_path):
    """Makes a place for what a teacher says of batches of 8."""

    def make(*, rank=0, classes=2, warn=pytest.fail, about="x"):
        return KeptOutputs(tmp_path, {"of": about}, rank=rank, count=8, classes=classes, warn=warn)

    return make


def rows_of(batch):
    return packed(Counted()(batch.pixels_NSSC.permute(0, 3, 1, 2) / 255))


def test_what_is_kept_is_read_back_bit_for_bit_whatever_the_order_of_steps(kept):
    batches = {step: batch_of(seed=step) for step in (3, 0, 70)}
    for step, batch in batches.items():
        kept().put(step, batch, rows_of(batch))
    for step, batch in batches.items():
        assert (kept().get(step, batch) == rows_of(batch)).all()
    assert kept().get(1, batch_of(seed=1)) is None, "a hole"
    assert kept().get(71, batch_of(seed=1)) is None, "behind the end"


def test_a_teacher_whose_weights_are_in_another_file_is_refused(tmp_path):
    """Their hash would not be that of the file."""
    path = tmp_path / "teacher.onnx"
    export_module(Pooled().eval(), path, shape=(1, 3, 8, 8), convention="RGB, values in [0, 1]")
    file = onnx.load(path)
    onnx.save_model(file, path, save_as_external_data=True, location="weights", size_threshold=0)
    assert (tmp_path / "weights").exists()
    with pytest.raises(MeasurementError, match="its weights are in another file; save it as one, by"):
        open_teacher(str(path), device="cpu")


@pytest.mark.parametrize("damage", ["check", "row", "truncated", "emptied", "zeros"])
def test_a_damaged_block_is_not_known_and_written_again(kept, damage):
    place, batches = kept(), [batch_of(seed=step) for step in range(3)]
    for step, batch in enumerate(batches):
        place.put(step, batch, rows_of(batch))
    (file,) = place.folder.glob("*.rows")
    content = bytearray(file.read_bytes())
    length = len(content) // 3
    if damage in ("check", "row"):
        content[2 * length + (3 if damage == "check" else 40)] ^= 1
    elif damage == "zeros":
        content[2 * length :] = bytes(length)
    file.write_bytes(content[: {"truncated": 3 * length - 1, "emptied": 0}.get(damage, 3 * length)])
    assert place.get(2, batches[2]) is None
    assert (place.get(1, batches[1]) is None) == (damage == "emptied")
    place.put(2, batches[2], rows_of(batches[2]))
    assert (place.get(2, batches[2]) == rows_of(batches[2])).all()


def test_what_is_kept_is_of_these_images_alone(kept):
    batch, place = batch_of(), kept()
    place.put(0, batch, rows_of(batch))
    pixels_NSSC = batch.pixels_NSSC.clone()
    pixels_NSSC[5] += 1
    assert place.get(0, batch._replace(pixels_NSSC=pixels_NSSC)) is None
    assert place.get(0, batch._replace(drawn_N2=batch.drawn_N2 + 1)) is None
    assert place.get(0, batch._replace(labels_N=1 - batch.labels_N)) is not None


def test_two_writers_of_the_same_rows_do_no_harm(kept):
    batches = [batch_of(seed=step) for step in range(4)]
    one, other = kept(), kept()
    for step, batch in enumerate(batches):
        one.put(step, batch, rows_of(batch))
        other.put(3 - step, batches[3 - step], rows_of(batches[3 - step]))
        other.put(step, batch, rows_of(batch))
    for step, batch in enumerate(batches):
        assert (one.get(step, batch) == rows_of(batch)).all()


def test_each_process_keeps_its_part(tmp_path):
    job = taught_job(tmp_path / "out", Counted())
    folders = set()
    for rank in (0, 1):
        execution = Execution(device="cpu", ranks=Ranks(rank=rank, world=2))
        place = job_outputs(replace(job, execution=execution), pytest.fail)
        batch = batch_of(4, seed=rank)
        place.put(0, batch, rows_of(batch))
        assert (place.get(0, batch) == rows_of(batch)).all()
        folders.add(place.folder)
    (folder,) = folders
    assert sorted(path.name for path in folder.iterdir()) == ["0.rows", "1.rows", "about.json"]
    assert json.loads((folder / "about.json").read_text())["processes"] == 2
    assert folder != job_outputs(job, pytest.fail).folder


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_said_once_and_the_training_goes_on(tmp_path):
    job, network, listener = taught_job(tmp_path / "out", Counted()), Counted(), Quiet()
    place = job_outputs(job, pytest.fail)
    place.folder.mkdir(parents=True)
    (place.folder / "0.rows").symlink_to("/dev/full")
    once = replace(RECIPE, epochs=1)
    train_fully(taught_job(tmp_path / "out", network, recipe=once), listener=listener)
    reason = "No space left on device; the teacher's outputs are computed and not kept"
    assert listener.warnings == [f"{place.folder}: cannot write: {reason}"]
    assert network.seen == 24


def test_what_cannot_be_read_is_said_once_and_computed(kept):
    warnings = []
    place = kept(warn=warnings.append)
    (place.folder / "0.rows").mkdir(parents=True)
    for _ in range(2):
        assert place.get(0, batch_of()) is None
        place.put(0, batch_of(), rows_of(batch_of()))
    assert warnings == [
        f"{place.folder}: cannot read: Is a directory; the teacher's outputs are computed and not kept"
    ]


def test_a_training_goes_on_with_its_teacher_only(tmp_path):
    with pytest.raises(Stop):
        train_fully(taught_job(tmp_path / "out", Counted()), listener=Quiet(), check_interrupt=stopping_after(0))
    for changed, said in (
        ({"sha256": "u"}, "`teacher`: was t, now u"),
        ({"temperature": 2.0}, "`teacher_temperature`: was 1.0, now 2.0"),
        ({"weight": 0.5}, "`teacher_weight`: was 1.0, now 0.5"),
    ):
        with pytest.raises(StudyConflict, match=re.escape(said)):
            train_fully(taught_job(tmp_path / "out", Counted(), **changed), listener=Quiet())
    with pytest.raises(StudyConflict, match="`teacher`: was t, now None"):
        train_fully(job_in(tmp_path / "out"), listener=Quiet())


def test_a_checkpoint_from_before_there_were_teachers_goes_on(tmp_path):
    with pytest.raises(Stop):
        train_fully(job_in(tmp_path), listener=Quiet(), check_interrupt=stopping_after(0))
    state = json.loads((tmp_path / "checkpoint-last" / "state.json").read_text())
    assert state["inputs"].pop("teacher", "lacks") is None
    write_checkpoint(tmp_path / "old" / "checkpoint-last", {}, state)
    for file in (tmp_path / "old" / "checkpoint-last").iterdir():
        (tmp_path / "checkpoint-last" / file.name).write_bytes(file.read_bytes())
    listener = Quiet()
    with pytest.raises(Stop):
        train_fully(job_in(tmp_path), listener=listener, check_interrupt=stopping_after(0))
    assert listener.began_at == 0


def checkpoint(folder, arch, *, classes=("blue", "red"), recipe=RECIPE):
    """One that is whole, of a network whose outputs depend on the image."""
    torch.manual_seed(0)
    model = build_model(arch, ClassifierHead(len(classes)))
    nn.init.normal_(model.classifier.linear.weight)
    inputs = TrainingInputs(arch=arch, recipe=recipe, seed=0, data="x", classes=classes)
    write_checkpoint(folder, {AVERAGED: model.state_dict()}, to_json(TrainingState(inputs=inputs)))
    return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 4])
@pytest.mark.parametrize("arch", [replace(FEW, image_size=32), V1], ids=["RGB", "BGR"])
def test_a_file_says_what_the_checkpoint_says_that_it_was_exported_from(tmp_path, arch, count):
    model, pixels_NSSC = checkpoint(tmp_path / "checkpoint", arch), batch_of(6).pixels_NSSC
    path = tmp_path / "teacher.onnx"
    export_module(model, path, shape=(count, 3, 32, 32), convention=f"{arch.channel_order}, values in [0, 1]")
    x_NCSS = pixels_NSSC.permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        expected, other = model(x_NCSS).numpy(), model(x_NCSS.flip(1)).numpy()
    if arch.channel_order == "BGR":
        expected, other = other, expected
    assert np.abs(expected - other).max() > 1e-2
    for what, names in ((path, None), (tmp_path / "checkpoint", ("blue", "red"))):
        teacher = open_teacher(str(what), device="cpu")
        assert (teacher.names, teacher.classes, teacher.size) == (names, 2, 32)
        assert teacher.outputs(pixels_NSSC).numpy() == pytest.approx(expected, abs=1e-3)


@pytest.mark.slow
def test_a_file_for_any_number_of_images_gets_them_at_once(tmp_path):
    path, model = tmp_path / "teacher.onnx", Pooled().eval()
    export_module(model, path, shape=(2, 3, 32, 32), convention="")
    file = onnx.load(path)
    for value in (*file.graph.input, *file.graph.output):
        value.type.tensor_type.shape.dim[0].dim_param = "images"
    onnx.save(file, path)
    pixels_NSSC = batch_of(6).pixels_NSSC
    with torch.no_grad():
        expected = model(pixels_NSSC.permute(0, 3, 1, 2) / 255).numpy()
    assert np.ptp(expected, axis=0).min() > 1e-2
    assert open_teacher(str(path), device="cpu").outputs(pixels_NSSC).numpy() == pytest.approx(expected, abs=1e-4)


class Pooled(nn.Module):
    """Outputs that depend on the image, always the same in evaluation mode."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.dropout, self.linear = nn.Conv2d(3, 8, 5, 3), nn.Dropout(), nn.Linear(8, 2)

    def forward(self, x_NCSS):
        return 10 * self.linear(self.dropout(self.conv(x_NCSS).relu().mean((2, 3))))


def test_images_are_scaled_to_the_size_of_the_teacher():
    seen = []
    for size, side in ((48, 32), (20, 32)):
        pixels_NSSC = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 5, 5, 3), dtype=np.uint8))
        whole = [
            Image.fromarray(one).resize((side, side), Image.Resampling.BICUBIC) for one in pixels_NSSC.numpy()
        ]
        pixels_NSSC = torch.from_numpy(np.stack([np.asarray(one) for one in whole]))
        teacher_of(lambda x: seen.append(x) or x.mean((2, 3)), size=size).outputs(pixels_NSSC)
        expected = [np.asarray(one.resize((size, size), Image.Resampling.BICUBIC)) for one in whole]
        got = 255 * seen[-1].permute(0, 2, 3, 1).numpy()
        assert np.abs(got - np.stack(expected)).max() < 2.01  # Pillow rounds between its two passes
        assert seen[-1].min() >= 0
        assert seen[-1].max() <= 1


def test_grey_images_are_shown_in_three_channels():
    seen = []
    grey_NSS1 = batch_of().pixels_NSSC[..., :1]
    teacher_of(lambda x: seen.append(x) or x.mean((2, 3))).outputs(grey_NSS1)
    assert seen[0].shape == (8, 3, 32, 32)


def test_a_large_batch_is_computed_in_parts_of_128_images():
    sizes = []
    found = teacher_of(lambda x: sizes.append(len(x)) or x.mean((2, 3))).outputs(batch_of(300).pixels_NSSC)
    assert (sizes, len(found)) == ([128, 128, 44], 300)


def test_outputs_that_are_not_finite_are_an_error():
    teacher = teacher_of(lambda x: x.mean((2, 3)) / 0)
    with pytest.raises(TrainingError, match=r"^`teacher` t: its outputs are not finite; try `precision` fp32$"):
        teacher.outputs(batch_of().pixels_NSSC)


@pytest.fixture
def timm(monkeypatch):
    """A library with two networks; one of them cannot be fetched."""

    def create_model(name, pretrained):
        assert pretrained
        if name == "far":
            raise OSError("no route to host\nmore")
        model = Pooled()
        model.pretrained_cfg = {"input_size": (3, 48, 48), "mean": (0.5, 0.4, 0.3), "std": (0.1, 0.2, 0.3)}
        return model.train()

    stub = SimpleNamespace(is_model=lambda name: name in ("near", "far"), create_model=create_model)
    monkeypatch.setitem(sys.modules, "timm", stub)


@pytest.mark.usefixtures("timm")
def test_a_network_of_timm_gets_images_as_it_was_trained_with():
    teacher = open_teacher("timm:near", device="cpu")
    assert (teacher.size, teacher.classes, teacher.names) == (48, 2, None)
    pixels_NSSC = batch_of(size=48).pixels_NSSC
    x_NCSS = pixels_NSSC.permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in ((0.5, 0.4, 0.3), (0.1, 0.2, 0.3)))
    expected = Pooled().eval()((x_NCSS - mean) / std).detach()
    assert teacher.outputs(pixels_NSSC).numpy() == pytest.approx(expected.numpy(), abs=1e-4)


@pytest.mark.usefixtures("timm")
@pytest.mark.parametrize(
    ("name", "kind", "said"),
    [
        ("timm:", SpecError, "timm:: expected timm: and the name of one of its networks; timm.list_models() has"),
        ("timm:nearer", SpecError, "timm:nearer: expected timm: and the name of one of its networks"),
        ("timm:far", BackendUnavailable, "timm:far: timm cannot load its weights: no route to host; fetch them"),
    ],
)
def test_what_timm_does_not_have_is_one_line(name, kind, said):
    with pytest.raises(kind) as raised:
        open_teacher(name, device="cpu")
    assert str(raised.value).startswith(f"`teacher`: {said}")
    assert "\n" not in str(raised.value)


def test_a_teacher_of_timm_needs_timm(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BackendUnavailable, match=r"timm cannot be imported: .*; pip install timm torchvision"):
        open_teacher("timm:near", device="cpu")


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder to work in, with images, an architecture and teachers, most of them wrong."""
    monkeypatch.chdir(tmp_path)
    write_images(tmp_path / "images", {"blue": 10, "red": 10})
    (tmp_path / "few.yaml").write_text(arch_yaml(ARCH, []))
    (tmp_path / "damaged.onnx").write_bytes(b"not a network")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / "empty").mkdir()
    return tmp_path


def train(*words):
    fixed = ["train", "few.yaml", "--data", "images", "--out", "out", "--image-size", "32", "--batch-size", "8"]
    return CliRunner().invoke(cli, [*fixed, "--train-on", "cpu", "--epochs", "1", *words])


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--teacher", "none.onnx"], 2, "error: --teacher: none.onnx: no such file"),
        (["--teacher", "damaged.onnx"], 4, "error: --teacher: damaged.onnx is no ONNX file, or damaged: "),
        (["--teacher", "notes.txt"], 2, "error: --teacher notes.txt: expected a file that ends in .onnx, the"),
        (["--teacher", "nowhere"], 2, "error: --teacher nowhere: expected a file that ends in .onnx, the"),
        (["--teacher", "empty"], 2, "error: --teacher: empty: expected the folder of a training, one of its"),
        (["--teacher", "x", "--teacher-temperature", "0"], 2, "--teacher-temperature 0: expected a number from"),
        (["--teacher", "x", "--teacher-temperature", "nan"], 2, "--teacher-temperature nan: expected a number"),
        (["--teacher", "x", "--teacher-weight", "1.5"], 2, "--teacher-weight 1.5: expected a number from 0 to 1"),
        (["--teacher-temperature", "1"], 2, "--teacher-temperature needs --teacher"),
        (["--teacher-weight", "1"], 2, "--teacher-weight needs --teacher"),
    ],
)
def test_wrong_teachers_are_one_line(desk, words, code, said):
    done = train(*words)
    assert done.exit_code == code
    assert re.fullmatch(r"(Usage: .*\n.*\n\n)?[Ee]rror: .+\n", done.output), done.output
    assert said in done.output
    assert not (desk / "out").exists()


@pytest.mark.parametrize(
    ("module", "shape", "said"),
    [
        (nn.Conv2d(3, 2, 3), (1, 3, 32, 32), "gives [1, 2, 30, 30] for one image; expected [1, classes]"),
        (nn.Flatten(), (1, 3, 32, 16), "takes [1, 3, 32, 16]; expected [N, 3, size, size]"),
        (nn.Flatten(), (1, 1, 32, 32), "takes [1, 1, 32, 32]; expected [N, 3, size, size]"),
        (nn.Flatten(), (1, 3), "takes [1, 3]; expected [N, 3, size, size]"),
    ],
)
def test_a_file_of_something_else_is_no_teacher(tmp_path, module, shape, said):
    export_module(module, tmp_path / "other.onnx", shape=shape, convention="RGB, values in [0, 1]")
    with pytest.raises(SpecError) as raised:
        open_teacher(str(tmp_path / "other.onnx"), device="cpu")
    assert str(raised.value) == f"`teacher`: {tmp_path}/other.onnx: {said}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("classes", "said"),
    [
        (("blue", "green"), "knows 2 classes, and images has 2; one that differs: green; give a teacher of the"),
        (("red", "blue"), "knows 2 classes, and images has 2; one that differs: their order; give"),
        (("blue", "green", "red"), "knows 3 classes, and images has 2; one that differs: green; give"),
    ],
)
def test_a_teacher_of_other_classes_is_refused(desk, classes, said):
    checkpoint(desk / "teacher", replace(FEW, image_size=32), classes=classes)
    done = train("--teacher", "teacher")
    assert (done.exit_code, done.output.count("\n")) == (2, 1)
    assert f"error: --teacher teacher {said}" in done.output


@pytest.mark.slow
def test_a_dry_run_shows_the_teacher_and_keeps_nothing(desk):
    checkpoint(desk / "teacher", replace(FEW, image_size=32))
    words = ["--teacher", "teacher", "--teacher-temperature", "2", "--teacher-weight", "0.5", "--epochs", "500"]
    done = train(*words, "--dry-run", "--images-per-epoch", "8000")
    assert done.exit_code == 0, done.output
    rows = dict(re.split(r"  +", line, maxsplit=1) for line in done.stdout.splitlines())
    assert re.fullmatch(r"teacher, weights [0-9a-f]{12}", rows["teacher"])
    assert (rows["teacher_temperature"], rows["teacher_weight"]) == ("2", "0.5")
    # 500,000 steps of a check of 16 bytes and 8 rows of two classes with two logarithms and that of the rest
    assert rows["kept outputs"] == f"{500 * 1000 * (16 + 8 * (2 + 6)) / 1e6:.3g} MB at most, below results"
    assert not (desk / "out").exists()
    assert not (desk / "results" / ".teachers").exists()


@pytest.mark.slow
def test_the_command_trains_with_a_teacher_and_a_second_one_finds_what_it_said(desk, monkeypatch):
    checkpoint(desk / "teacher", replace(FEW, image_size=32))
    done = train("--teacher", "teacher")
    assert done.exit_code == 0, done.output
    assert done.stderr == ""
    state = json.loads((desk / "out" / "checkpoint-last" / "state.json").read_text())
    assert {**state["inputs"]["teacher"], "weights": ""} == {"weights": "", "temperature": 1.0, "weight": 1.0}
    (file,) = (desk / "results" / ".teachers").glob("*/0.rows")
    assert file.stat().st_size == 2 * (16 + 8 * 8)
    seen = []
    real = Teacher.outputs
    monkeypatch.setattr(Teacher, "outputs", lambda *given: seen.append(len(given[1])) or real(*given))
    done = train("--teacher", "teacher", "--out", "other", "--learning-rate", "1e-4")
    assert done.exit_code == 0, done.output
    assert seen == [1], "more than the image that tells its classes"
