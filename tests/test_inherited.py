"""The proxy of inherited weights, and what shared weights begin with."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from families import LARGE, MIDDLE, RECIPE, SMALL, a_dataset, coloured, trained
from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError, TrainingError
from mvit2_search.models import build_model
from mvit2_search.models.slices import covering, extract, sliced
from mvit2_search.models.weights import foreign_names
from mvit2_search.records import TrainingInputs
from mvit2_search.space import load_space
from mvit2_search.task.data.dataset import Split
from mvit2_search.train.full import train_fully
from mvit2_search.train.inherited import FromLargest, Inherited
from mvit2_search.train.loop import evaluate, settle_statistics
from mvit2_search.train.origin import beginning, importance_order, origin
from mvit2_search.train.proxies import ShortTrain
from mvit2_search.train.shared import SharedWeights, read_shared
from reference import randomised
from trainings import Quiet, job_in

SHORT = ShortTrain(RECIPE, "cpu")
HEAD = ClassifierHead(2)


def noise(count: int, seed: int) -> Split:
    """Images without anything to learn: the least change of the weights shows in the scores."""
    rng = np.random.default_rng(seed)
    pixels_NSSC = rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return Split(pixels_NSSC=pixels_NSSC, labels_N=rng.integers(0, 2, count))


DATASET = a_dataset(train=noise(150, 1), selection=noise(1_200, 2), confirmation=noise(40, 3))


def shared_weights(maximal=LARGE, seed=0, sha256="abc") -> SharedWeights:
    model = randomised(build_model(maximal, HEAD), seed)
    inputs = TrainingInputs(arch=maximal, recipe=RECIPE, seed=0, data="colours", classes=DATASET.classes)
    return SharedWeights(inputs=inputs, tensors=model.state_dict(), sha256=sha256)


def scores_of(arch, proxy, seed=0, test_on="selection", dataset=DATASET):
    return [(one.epoch, one.score) for one in proxy.run(arch, dataset, seed=seed, test_on=test_on)]


def test_the_score_is_that_of_the_slice_with_statistics_of_the_training_images():
    shared = shared_weights()
    model = build_model(MIDDLE, HEAD)
    model.load_state_dict(sliced(shared.tensors, LARGE, MIDDLE, HEAD))
    stale = evaluate(model, DATASET.selection, DATASET.task, device="cpu").score
    settle_statistics(model, DATASET.train, device="cpu")
    wanted = evaluate(model, DATASET.selection, DATASET.task, device="cpu").score
    proxy = Inherited(shared, device="cpu", short=SHORT)
    assert scores_of(MIDDLE, proxy) == scores_of(MIDDLE, proxy, seed=9) == [(1, wanted)]
    assert len({wanted, stale, scores_of(SMALL, proxy)[0][1], scores_of(LARGE, proxy)[0][1]}) == 4


def test_shared_weights_and_the_random_state_stay_as_they_are():
    shared = shared_weights()
    kept = {name: tensor.clone() for name, tensor in shared.tensors.items()}
    before = torch.get_rng_state()
    proxy = Inherited(shared, device="cpu", short=SHORT, tuning=replace(RECIPE, epochs=1))
    scores_of(LARGE, proxy)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in shared.tensors.items())


def test_fine_tuning_adds_a_score_for_each_epoch_and_has_a_seed():
    proxy = Inherited(shared_weights(), device="cpu", short=SHORT, tuning=RECIPE)
    found = scores_of(SMALL, proxy)
    assert [epoch for epoch, _ in found] == [1, 2, 3]
    assert len({score for _, score in found}) == 3
    assert found == scores_of(SMALL, proxy)
    other = scores_of(SMALL, proxy, seed=1)
    assert other[0] == found[0]
    assert other[1:] != found[1:]


def test_the_last_score_is_on_all_images_and_those_before_on_fewer():
    proxy = Inherited(shared_weights(), device="cpu", short=SHORT, tuning=replace(RECIPE, epochs=1))
    first, _ = scores_of(SMALL, proxy)
    alone = scores_of(SMALL, Inherited(shared_weights(), device="cpu", short=SHORT))
    shorter = replace(DATASET, selection=DATASET.selection.first(1_000))
    assert first == scores_of(SMALL, proxy, dataset=shorter)[0]
    assert first != alone[0]


def test_fine_tuning_learns_from_the_largest_network():
    """With nothing of the labels and an untaught slice, it comes closer to the outputs of the largest."""
    batch_like = a_dataset().train
    largest = randomised(build_model(LARGE, HEAD), 1)
    lessons = FromLargest(largest.eval(), 1.0, "cpu")
    batch = type("Batch", (), {"pixels_NSSC": torch.from_numpy(batch_like.pixels_NSSC)})
    targets = lessons.targets(0, batch)
    x = torch.from_numpy(batch_like.pixels_NSSC).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        assert torch.allclose(targets, largest(x).softmax(1), atol=1e-5)
    log = torch.log(targets)
    assert lessons.loss(log, targets).item() == pytest.approx(0, abs=1e-6)
    flipped = lessons.loss(log.flip(1), targets).item()
    assert flipped == pytest.approx((targets * (log - log.flip(1))).sum(1).mean().item(), rel=1e-4)
    assert not targets.requires_grad
    weighed = [
        scores_of(SMALL, Inherited(shared_weights(), device="cpu", short=SHORT, tuning=RECIPE, weight=weight))
        for weight in (0.0, 1.0)
    ]
    assert weighed[0] != weighed[1]


def test_a_confirmation_is_a_short_training():
    proxy = Inherited(shared_weights(), device="cpu", short=SHORT)
    found = scores_of(SMALL, proxy, test_on="confirmation")
    assert found == scores_of(SMALL, SHORT, test_on="confirmation")
    assert [epoch for epoch, _ in found] == [2]


def test_what_inherits_nothing_has_no_score_and_a_reason():
    proxy = Inherited(shared_weights(), device="cpu", short=SHORT)
    with pytest.raises(TrainingError, match="attention_layers"):
        scores_of(replace(SMALL, attention_layers=(0, 1, 1)), proxy)
    with pytest.raises(TrainingError, match="at most"):
        scores_of(ArchConfig.mobilevitv2(0.5), proxy)


def test_weights_of_other_images_are_refused():
    """Those to test on may have been trained on."""
    proxy = Inherited(shared_weights(), device="cpu", short=SHORT)
    for other in (replace(DATASET, fingerprint="others"), replace(DATASET, classes=("green", "red"))):
        with pytest.raises(SpecError, match="other images"):
            scores_of(SMALL, proxy, dataset=other)


def test_settings_tell_all_that_scores_depend_on():
    def settings(short=SHORT, sha256="abc", **more):
        found = Inherited(shared_weights(sha256=sha256), device="cpu", short=short, **more).settings()
        return json.dumps(found, sort_keys=True)

    other_short = ShortTrain(replace(RECIPE, epochs=3), "cpu")
    tuned = [settings(tuning=RECIPE, weight=weight) for weight in (0.5, 0.6)]
    longer = settings(tuning=replace(RECIPE, epochs=3))
    assert len({settings(), settings(sha256="def"), settings(short=other_short), *tuned, longer}) == 6
    assert settings() == settings()
    with pytest.raises(SpecError, match="48: the shared weights are for 32 pixels"):
        settings(tuning=replace(RECIPE, image_size=48))


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("attention_layers: {range: [0, 2]}", "attention_layers: 0"),
        ("attention: {choices: [separable, linformer]}", "linformer"),
        ("expand_ratio: {choices: [2.0, 6.0]}", "expanded_channels"),
        ("image_size: {choices: [256, 384]}", "image_size"),
    ],
)
def test_a_space_with_networks_that_inherit_nothing_is_refused_before_the_search(tmp_path, setting, named):
    def space(line):
        (tmp_path / "space.yaml").write_text(f"name: s\nsettings:\n  width: {{range: [0.5, 0.6]}}\n  {line}\n")
        return load_space(str(tmp_path / "space.yaml"))

    proxy = Inherited(shared_weights(ArchConfig.mobilevitv2(0.75)), device="cpu", short=SHORT)
    assert proxy.blind_spots(space("ffn_multiplier: {choices: [1.0, 2.0]}")) == []
    with pytest.raises(SpecError, match=named):
        proxy.blind_spots(space(setting))


WIDTH = ArchConfig.mobilevitv2(0.5)


@pytest.mark.parametrize("scheme", ["ours", "ml-cvnets", "timm", "transformers"])
def test_a_file_of_a_published_width_is_recognised_in_all_schemes(tmp_path, scheme):
    model = randomised(build_model(WIDTH, ClassifierHead(1000)), 0)
    names = {key: [key] if scheme == "ours" else foreign_names(key, WIDTH, scheme) for key in model.state_dict()}
    state = {theirs: tensor for key, tensor in model.state_dict().items() for theirs in names[key]}
    save_file(state, tmp_path / "weights.safetensors")
    arch, weights = origin(tmp_path / "weights.safetensors", ClassifierHead(1000))
    assert arch == WIDTH
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in weights.items())
    assert "classifier.linear.weight" not in origin(tmp_path / "weights.safetensors", HEAD)[1]


def test_a_file_of_no_published_width_is_refused(tmp_path):
    save_file(build_model(SMALL, HEAD).state_dict(), tmp_path / "weights.safetensors")
    with pytest.raises(SpecError, match="published width"):
        origin(tmp_path / "weights.safetensors", HEAD)
    arch, _ = origin(tmp_path / "weights.safetensors", HEAD, SMALL)
    assert arch == SMALL


def test_the_folder_of_a_training_knows_its_network(tmp_path):
    train_fully(job_in(tmp_path, arch=SMALL, recipe=replace(RECIPE, epochs=1)), listener=Quiet())
    arch, weights = origin(tmp_path, HEAD)
    assert arch == SMALL
    assert weights.keys() == build_model(SMALL, HEAD).state_dict().keys()


def test_shared_weights_begin_as_the_network_that_they_come_from():
    """Grown and sorted; the channels that count least are those that are new."""
    arch = replace(SMALL, attention_dims=LARGE.attention_dims)
    model = randomised(build_model(arch, HEAD), 4).eval()
    found = beginning(model.state_dict(), arch, LARGE, a_dataset(), device="cpu", seed=0)
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for network in (LARGE, covering(arch)):
            assert (extract(found, LARGE, network, HEAD)(x) - model(x)).abs().max() < 1e-5
        without = {name: one for name, one in model.state_dict().items() if not name.startswith("classifier")}
        headless = extract(beginning(without, arch, LARGE, a_dataset(), device="cpu", seed=0), LARGE, arch, HEAD)
        y, z = (one.final(one.stages(one.stem(x))).mean((2, 3)).sort(1).values for one in (headless, model))
        assert (y - z).abs().max() < 1e-5
    assert not torch.equal(found["stem.0.weight"][: arch.stem_channels], model.stem[0].weight)


def test_what_the_loss_depends_on_counts_as_important():
    model = randomised(build_model(LARGE, HEAD), 2)
    idle = {"stages.1.1.hidden": 5, "stages.3.layers.0.ffn": 2, "stem": 3}
    with torch.no_grad():
        model.stages[1][1].project[0].weight[:, 5] = 0
        model.stages[3][-1].encoder.layers[0].ffn[2].weight[:, 2] = 0
        model.stages[0][0].expand[0].weight[:, 3] = 0
    order = importance_order(model, a_dataset(), device="cpu")
    assert {group: order[group][-1].item() for group in idle} == idle
    # the one channel of the last stage that the classifier hears most of all
    with torch.no_grad():
        model.classifier.linear.weight[:, 7] *= 50
    assert importance_order(model, a_dataset(), device="cpu")["stages.4.out"][0] == 7


@pytest.mark.slow
def test_trained_shared_weights_give_scores_that_fine_tuning_keeps(tmp_path):
    dataset = a_dataset(selection=coloured(200, 9))
    trained(tmp_path, recipe=replace(RECIPE, epochs=6, images_per_epoch=160, batch_size=16), dataset=dataset)
    proxy = Inherited(read_shared(tmp_path), device="cpu", short=SHORT, tuning=replace(RECIPE, epochs=1))
    for arch in (SMALL, MIDDLE, LARGE):
        inherited, tuned = (score for _, score in scores_of(arch, proxy, dataset=dataset))
        assert inherited > 80
        assert tuned > 80


def test_published_widths_can_be_tried_without_a_fault():
    widths = [
        arch for name, arch in published_networks().items() if name in ("mobilevitv2-0.5", "mobilevitv2-0.75")
    ]
    proxy = Inherited(shared_weights(covering(*widths)), device="cpu", short=SHORT)
    few = replace(DATASET, train=DATASET.train.first(20), selection=DATASET.selection.first(20))
    for arch in widths:
        assert 0 <= scores_of(arch, proxy, dataset=few)[0][1] <= 100
