"""Our networks are theirs: outputs with timm's and transformers' weights, and weights going back and forth."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import SpecError
from mvit2_search.models import build_model, for_inference
from mvit2_search.models.libraries import transformers_config, transformers_network
from mvit2_search.models.weights import (
    foreign_names,
    load_state_dict,
    save_pretrained,
    timm_arguments,
    timm_state_dict,
)
from others import from_transformers, of_timm, of_transformers, transformers_logits
from reference import randomised, relative_error

TOLERANCE = 1e-4
PUBLISHED = published_networks()
WIDTH_05, XXS = PUBLISHED["mobilevitv2-0.5"], PUBLISHED["mobilevitv1-xxs"]
ML_CVNETS_KEYS = Path(__file__).parent / "data" / "ml_cvnets_keys_mobilevitv2_1.0.txt"

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")


def images(*size):
    return torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(2))


def ours(arch, num_classes=7, seed=0):
    return randomised(build_model(arch, ClassifierHead(num_classes)), seed)


def with_weights_of(other, arch, num_classes=7):
    model = build_model(arch, ClassifierHead(num_classes)).eval()
    load_state_dict(model, other.state_dict())
    return model


def assert_same_weights(found, expected):
    found, expected = found.state_dict(), expected.state_dict()
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_outputs_equal_timms(name):
    theirs = randomised(of_timm(PUBLISHED[name], 7))
    model = with_weights_of(theirs, PUBLISHED[name])
    for size in ((128, 128), (100, 130), (97, 33)):
        expected = theirs(images(*size))
        assert relative_error(model(images(*size)), expected) < TOLERANCE
        assert relative_error(for_inference(model)(images(*size)), expected) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("name", PUBLISHED)
@torch.inference_mode()
def test_outputs_equal_transformers(name):
    """Its second version folds only maps that the patches divide; its first takes any."""
    theirs = randomised(of_transformers(PUBLISHED[name], 7))
    model = with_weights_of(theirs, PUBLISHED[name])
    for size in ((128, 128), (64, 192), *([(97, 33)] if "v1" in name else [])):
        expected = transformers_logits(theirs, images(*size))
        assert relative_error(model(images(*size)), expected) < TOLERANCE


@pytest.mark.parametrize("name", ["mobilevitv2-0.5", "mobilevitv1-xxs"])
def test_a_training_step_equals_timms(name):
    """Batch statistics, gradients and running averages, without the first version's dropout."""
    arch = PUBLISHED[name]
    theirs = randomised(of_timm(arch, 7)).train()
    model = with_weights_of(theirs, arch).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    x = images(64, 64).contiguous(memory_format=torch.channels_last)
    for network in (model, theirs):
        torch.nn.functional.cross_entropy(network(x), torch.tensor([1, 2, 3])).backward()
    gradients = {key: p.grad for key, p in theirs.named_parameters()}
    total = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for key, parameter in model.named_parameters():
        (found,) = foreign_names(key, arch, "timm")
        expected = gradients[found].reshape(parameter.shape)
        largest_error = TOLERANCE * expected.norm() + 1e-6 * total  # some gradients cancel out to nothing
        assert (parameter.grad - expected).norm() < largest_error, key
    ours_after, theirs_after = timm_state_dict(model), theirs.state_dict()
    for key in theirs_after:
        torch.testing.assert_close(ours_after[key], theirs_after[key], msg=key)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        WIDTH_05,
        XXS,
        PUBLISHED["mobilevitv2-2.0"],
        ArchConfig.mobilevitv2(0.6, attention_layers=(1, 0, 2), patch_size=(2, 2, 1), kernel_size=(3, 5, 3, 5, 5)),
        ArchConfig.mobilevitv2(
            0.4, ffn_multiplier=(1, 2, 3), expand_ratio=(1, 2.2, 3, 1.7, 2), inverted_residuals=(2, 1, 1, 3, 1)
        ),
        replace(XXS, attention_layers=(1, 2, 1), ffn_dims=(96, 160, 250), kernel_sizes=(3, 3, 5, 3, 3)),
    ],
    ids=["0.5", "xxs", "2.0", "0.6 blocks", "0.4 ratios", "xxs blocks"],
)
def test_timm_loads_what_we_write(arch):
    model, theirs = ours(arch), of_timm(arch, 7)
    theirs.load_state_dict(timm_state_dict(model))
    with torch.inference_mode():
        assert relative_error(theirs.eval()(images(64, 64)), model(images(64, 64))) < TOLERANCE
    again = with_weights_of(theirs, arch)
    assert_same_weights(again, model)


@pytest.mark.slow
@pytest.mark.parametrize(
    "arch",
    [
        WIDTH_05,
        XXS,
        ArchConfig.mobilevitv2(0.6),
        ArchConfig.mobilevitv2(1.1, attention_layers=(1, 5, 2)),
        ArchConfig.mobilevitv2(0.33, ffn_multiplier=3, expand_ratio=1.5),
        ArchConfig.mobilevitv2(0.7, attention_width=0.9, image_size=128),
        ArchConfig.mobilevitv2(0.5, expand_ratio=1.7),
        replace(XXS, ffn_dims=(83, 104, 124)),
    ],
    ids=["0.5", "xxs", "0.6", "1.1 layers", "0.33 ratios", "0.7 dims", "0.5 x 1.7", "xxs ffn"],
)
def test_transformers_loads_what_we_write(arch, tmp_path):
    model = ours(arch)
    save_pretrained(model, tmp_path)
    theirs = from_transformers(arch, tmp_path).eval()
    with torch.inference_mode():
        assert relative_error(transformers_logits(theirs, images(64, 64)), model(images(64, 64))) < TOLERANCE
    again = with_weights_of(theirs, arch)
    assert_same_weights(again, model)


@pytest.mark.parametrize("arch", [WIDTH_05, XXS], ids=["v2", "v1"])
def test_images_reach_transformers_in_the_order_that_the_network_takes(arch, tmp_path):
    save_pretrained(build_model(arch, ClassifierHead(2)), tmp_path)
    written = json.loads((tmp_path / "preprocessor_config.json").read_text())
    assert written == {
        "image_processor_type": "MobileViTImageProcessor",
        "do_resize": True,
        "size": {"shortest_edge": 256},
        "do_center_crop": True,
        "crop_size": {"height": 256, "width": 256},
        "do_rescale": True,
        "rescale_factor": 1 / 255,
        "do_flip_channel_order": arch is XXS,
    }


def test_the_names_and_shapes_are_those_of_an_ml_cvnets_checkpoint():
    lines = ML_CVNETS_KEYS.read_text().splitlines()
    published = {line.split()[0]: json.loads(line.partition(" ")[2]) for line in lines}
    arch = PUBLISHED["mobilevitv2-1.0"]
    model = build_model(arch)
    found = {name for key in model.state_dict() for name in foreign_names(key, arch, "ml-cvnets")}
    assert found == published.keys()
    torch.manual_seed(0)
    checkpoint = {key: torch.rand(shape) for key, shape in published.items()}
    load_state_dict(model, checkpoint)
    weight = model.state_dict()["stages.3.1.encoder.layers.2.mixer.qkv.weight"]
    name = "layer_4.1.global_rep.2.pre_norm_attn.1.qkv_proj.block.conv.weight"
    assert torch.equal(weight, checkpoint[name][:, :, 0, 0])


@pytest.mark.parametrize("arch", [WIDTH_05, XXS, ArchConfig.mobilevitv2(0.25, attention="linformer")])
def test_our_own_names_are_recognised(arch):
    model, other = ours(arch), build_model(arch, ClassifierHead(7))
    load_state_dict(other, model.state_dict())
    assert_same_weights(other, model)


@pytest.mark.parametrize("arch", [WIDTH_05, XXS], ids=["v2", "v1"])
@pytest.mark.parametrize("scheme", ["ml-cvnets", "timm", "transformers"])
def test_no_two_weights_have_one_name(arch, scheme):
    names = [name for key in build_model(arch).state_dict() for name in foreign_names(key, arch, scheme)]
    assert len(set(names)) == len(names)
    assert not [name for name in names if re.search("[{}|]|None", name)]


@pytest.mark.parametrize("make", [of_timm, of_transformers])
@pytest.mark.parametrize("arch", [WIDTH_05, XXS], ids=["v2", "v1"])
class TestWrongWeights:
    @pytest.mark.slow
    def test_a_missing_key_is_named(self, make, arch):
        weights = dict(make(arch, 7).state_dict())
        gone = list(weights)[10]
        del weights[gone]
        with pytest.raises(SpecError, match=f"missing from the weights: {re.escape(gone)}$"):
            load_state_dict(build_model(arch, ClassifierHead(7)), weights)

    def test_an_extra_key_is_named(self, make, arch):
        weights = {**make(arch, 7).state_dict(), "something.else": torch.zeros(1)}
        with pytest.raises(SpecError, match=r"has no place for: something\.else$"):
            load_state_dict(build_model(arch, ClassifierHead(7)), weights)

    def test_a_wrong_shape_is_named(self, make, arch):
        weights = dict(make(arch, 7).state_dict())
        name = next(key for key in weights if "qkv" in key or "attention.query.weight" in key)
        weights[name] = weights[name][:-1]
        with pytest.raises(SpecError, match=rf"{re.escape(name)}: expected the shape \[.*\], found \["):
            load_state_dict(build_model(arch, ClassifierHead(7)), weights)

    def test_another_number_of_classes_is_a_wrong_shape(self, make, arch):
        with pytest.raises(SpecError, match=r"(head\.fc|classifier)\.weight: expected the shape \[9, "):
            load_state_dict(build_model(arch, ClassifierHead(9)), make(arch, 7).state_dict())


def test_a_tensor_that_only_has_as_many_numbers_is_refused():
    model = build_model(WIDTH_05, ClassifierHead(7))
    weights = model.state_dict()
    key = "stages.2.1.encoder.layers.0.mixer.out.weight"
    weights[key] = weights[key].reshape(1, -1)
    with pytest.raises(SpecError, match=rf"{key}: expected the shape \[64, 64\], found \[1, 4096\]"):
        load_state_dict(model, weights)


def test_refused_weights_leave_the_network_as_it_was():
    model = build_model(WIDTH_05, ClassifierHead(7))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    weights = dict(ours(WIDTH_05).state_dict())
    weights["classifier.linear.bias"] = torch.zeros(8)
    with pytest.raises(SpecError, match=r"classifier\.linear\.bias: expected"):
        load_state_dict(model, weights)
    assert all(torch.equal(before[key], value) for key, value in model.state_dict().items())


@pytest.mark.parametrize("weights", [{}, {"features.0.weight": torch.zeros(1)}])
def test_weights_of_no_known_scheme_are_refused(weights):
    with pytest.raises(SpecError, match="no known naming scheme"):
        load_state_dict(build_model(WIDTH_05, ClassifierHead(7)), weights)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ({"kernel_size": (3, 3, 5, 3, 3)}, "kernel_sizes"),
        ({"attention": "linformer"}, "attention"),
        ({"patch_size": (2, 1, 2)}, "patch_sizes"),
        ({"attention_layers": (2, 0, 3)}, "attention_layers"),
        ({"inverted_residuals": 1}, "expanded_channels"),
        ({"ffn_multiplier": (2, 2, 3)}, "ffn_dims"),
        ({"width": (0.5, 0.75, 0.5, 0.5, 0.5)}, "stage_channels"),
    ],
)
def test_a_network_that_they_do_not_have_is_refused_by_the_setting(setting, named, tmp_path):
    model = build_model(ArchConfig.mobilevitv2(**{"width": 0.5} | setting), ClassifierHead(2))
    with pytest.raises(SpecError, match=f"transformers cannot express {named} "):
        save_pretrained(model, tmp_path / "made")
    assert not (tmp_path / "made").exists()


def test_transformers_cannot_stretch_maps(tmp_path):
    with pytest.raises(SpecError, match="transformers cannot express image_size 208: it does not stretch"):
        save_pretrained(build_model(ArchConfig.mobilevitv2(0.5, image_size=208), ClassifierHead(2)), tmp_path)


def test_timm_has_names_for_the_published_networks():
    assert [timm_arguments(arch) for arch in PUBLISHED.values()] == [
        *((f"mobilevitv2_{width}", {}) for width in ("050", "075", "100", "125", "150", "175", "200")),
        *((f"mobilevit_{size}", {}) for size in ("xxs", "xs", "s")),
    ]
    assert timm_arguments(replace(WIDTH_05, image_size=384)) == ("mobilevitv2_050", {})


@pytest.mark.parametrize(
    ("arch", "usual"),
    [
        (ArchConfig.mobilevitv2(0.25, attention=("separable", "linformer", "separable")), "separable"),
        (replace(XXS, attention=("multi_head", "separable", "multi_head")), "multi_head"),
    ],
)
def test_timm_has_no_other_mixers(arch, usual):
    with pytest.raises(SpecError, match=rf"timm cannot express attention \(.*it has {usual} in"):
        timm_state_dict(build_model(arch, ClassifierHead(2)))


def test_timm_has_inner_widths_in_multiples_of_8():
    arch = replace(WIDTH_05, expanded_channels=((30,), *WIDTH_05.expanded_channels[1:]))
    with pytest.raises(SpecError, match=r"timm cannot express expanded_channels \(\(30,\).*multiples of 8"):
        timm_state_dict(build_model(arch, ClassifierHead(2)))


def test_transformers_cannot_do_without_the_last_convolution_of_the_first_version(tmp_path):
    with pytest.raises(SpecError, match="transformers cannot express final_channels 0"):
        save_pretrained(build_model(replace(XXS, final_channels=0), ClassifierHead(2)), tmp_path)


def test_the_names_of_the_first_version_in_ml_cvnets():
    """Its modules as its source defines them, in stage 3, which has two encoder layers."""
    keys = [
        key
        for key in build_model(XXS, ClassifierHead(2)).state_dict()
        if key.startswith(("stages.2.1.", "classifier"))
    ]
    found = {name for key in keys for name in foreign_names(key, XXS, "ml-cvnets")}
    norm = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    conv_norm = ("block.conv.weight", *(f"block.norm.{leaf}" for leaf in norm))
    block = {f"{place}.{leaf}" for place in ("local_rep.conv_3x3", "conv_proj", "fusion") for leaf in conv_norm}
    block |= {"local_rep.conv_1x1.block.conv.weight"}
    linear = ("pre_norm_mha.0", "pre_norm_mha.1.qkv_proj", "pre_norm_mha.1.out_proj")
    linear += ("pre_norm_ffn.0", "pre_norm_ffn.1", "pre_norm_ffn.4")
    places = [f"global_rep.{j}.{place}" for j in (0, 1) for place in linear] + ["global_rep.2"]
    block |= {f"{place}.{leaf}" for place in places for leaf in ("weight", "bias")}
    assert found == {f"layer_3.1.{name}" for name in block} | {"classifier.fc.weight", "classifier.fc.bias"}
    (final,) = foreign_names("final.0.weight", XXS, "ml-cvnets")
    assert final == "conv_1x1_exp.block.conv.weight"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (torch.zeros(16, dtype=torch.int8), "expected a tensor of torch.float32, found torch.int8"),
        (torch.zeros(16, dtype=torch.complex64), "expected a tensor of torch.float32, found torch.complex64"),
        (torch.zeros(16, 1, 1), r"expected the shape \[16\], found \[16, 1, 1\]"),
        ([0.0] * 16, "expected a tensor of torch.float32, found list"),
    ],
)
def test_what_only_looks_like_a_weight_is_refused(value, message):
    weights = {**of_timm(WIDTH_05, 7).state_dict(), "stem.bn.bias": value}
    with pytest.raises(SpecError, match=rf"stem\.bn\.bias: {message}"):
        load_state_dict(build_model(WIDTH_05, ClassifierHead(7)), weights)


def test_half_precision_weights_are_loaded():
    model, other = ours(WIDTH_05), build_model(WIDTH_05, ClassifierHead(7))
    load_state_dict(other, {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()})
    torch.testing.assert_close(other.state_dict(), model.state_dict(), atol=1e-3, rtol=1e-3)


def test_a_folded_network_is_not_written(tmp_path):
    folded = for_inference(build_model(WIDTH_05, ClassifierHead(2)))
    for write in (timm_state_dict, lambda model: save_pretrained(model, tmp_path)):
        with pytest.raises(SpecError, match="folded for inference"):
            write(folded)


@pytest.mark.parametrize("hundredths", range(30, 301, 7))
def test_transformers_expresses_every_width(hundredths):
    arch = ArchConfig.mobilevitv2(hundredths / 100)
    assert transformers_network(transformers_config(arch, 3)) == arch
