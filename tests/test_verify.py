"""An exported file is compared with its network, and what computes something else is found."""

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from click.testing import CliRunner
from torch import nn

from conftest import write_images
from exports import (
    FIRST,
    FIRST_ODD,
    HEADS,
    MODEL,
    ODD,
    SMALL,
    WEIGHTS,
    agreement,
    exported,
    in_another_process,
    noise,
)
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.config import arch_yaml
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli import cli
from mvit2_search.errors import DataError, MeasurementError, SpecError
from mvit2_search.export.formats import export_module, open_artifact
from mvit2_search.export.mil.mlpackage import parsed_spec
from mvit2_search.export.untrained import untrained_network
from mvit2_search.export.verify import judge, verify, widest_leads
from mvit2_search.models.attention import SampleNorm
from mvit2_search.records import FORMULATION_NAMES, PRECISIONS, CoreMLOptions
from mvit2_search.space import load_space
from mvit2_search.task.data.dataset import to_input
from mvit2_search.task.data.load import load_dataset, load_images

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.fixture(scope="module")
def onnx_file(tmp_path_factory):
    return exported(SMALL, tmp_path_factory.mktemp("verify"), format="onnx")


@pytest.mark.parametrize(
    "arch", [SMALL, FIRST, ArchConfig.mobilevitv2(1.0, image_size=128)], ids=["small", "first", "1.0"]
)
def test_the_outputs_of_an_untrained_network_depend_on_the_image(arch):
    """Else a file could compute anything from the images and still agree."""
    pixels = load_images("fashion-mnist-mini", image_size=arch.image_size, count=8)
    with torch.inference_mode():
        logits_NK = untrained_network(arch, ClassifierHead(10)).eval()(to_input(pixels, arch.channel_order))
    assert 0.1 < logits_NK.abs().max() < 4
    assert logits_NK.std(0).mean() > 0.05 * logits_NK.abs().max()


def test_a_package_of_half_precision_agrees_and_every_gate_is_shown(package):
    found = agreement(package, SMALL)
    assert found.passed
    assert 1e-5 < found.max_error < 5e-3  # rounding shows, and nothing else
    assert found.cosine > 0.99999
    assert found.weights_share < 8e-5
    assert [line[:4] for line in found.lines()] == ["ok  "] * 4
    assert found.lines()[2] == "ok    images with the same top-1: 2, needed 2 of 2"


def test_an_onnx_file_agrees_in_single_precision(onnx_file):
    found = agreement(onnx_file, SMALL)
    assert found.passed
    assert 0 < found.max_error < 1e-5
    assert found.weights_share is None


def test_a_module_that_is_no_classifier_has_no_top1(tmp_path):
    torch.manual_seed(0)
    module = nn.Conv2d(3, 8, 3).eval()
    artifact = export_module(module, tmp_path / "a.mlpackage", shape=(1, 3, 16, 16), convention="tokens")
    found = verify(artifact, module, np.random.default_rng(0).random((2, 3, 16, 16), np.float32))
    assert found.passed
    assert found.same_top1 is None
    assert len(found.gates) == 3


@pytest.mark.parametrize("fixture", ["package", "onnx_file"])
def test_the_weights_of_another_network_do_not_pass(fixture, request):
    model = untrained_network(SMALL, ClassifierHead(4))
    with torch.no_grad():
        model.classifier.linear.weight[1, 5].neg_()
    assert not verify(request.getfixturevalue(fixture), model, noise(SMALL)).passed


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("precision", PRECISIONS)
def test_what_is_no_number_never_passes(value, precision):
    right = np.array([[1.0, 2.0], [3.0, 1.0]])
    wrong = right.copy()
    wrong[1, 0] = value
    for pair in ((right, wrong), (wrong, right), (wrong, wrong)):
        assert not judge(precision, *pair, None).passed
    assert not judge(precision, right, right, np.nan).passed
    assert judge(precision, right, right, 0.0).passed


def test_another_top1_on_one_image_does_not_pass():
    right = np.array([[1.0, 1.001], [3.0, 1.0]])
    turned = np.array([[1.001, 1.0], [3.0, 1.0]])
    found = judge("float16", right, turned, None)
    assert (found.passed, found.same_top1) == (False, 1)
    assert "FAIL  images with the same top-1: 1, needed 2 of 2" in found.lines()


def test_a_file_of_another_size_or_shape_is_told_apart(package):
    with pytest.raises(SpecError, match=r"takes inputs of shape \[3, 64, 64\], found \[3, 32, 32\]"):
        verify(package, untrained_network(SMALL, ClassifierHead(4)), np.zeros((1, 3, 32, 32), np.float32))
    with pytest.raises(MeasurementError, match=r"gives outputs of shape \[4\], the network \[5\]"):
        verify(package, untrained_network(SMALL, ClassifierHead(5)), noise(SMALL))


def test_a_file_is_described_by_what_stands_in_it(package, onnx_file):
    assert open_artifact(package.path) == package
    assert open_artifact(onnx_file.path) == onnx_file
    assert (package.precision, package.input_kind, package.output_shape) == ("float16", "tensor", (1, 4))
    assert (package.input_name, package.input_shape) == ("image", (1, 3, 64, 64))


def test_what_is_no_exported_file_is_refused(tmp_path):
    with pytest.raises(SpecError, match=r"a\.txt: expected a file that ends in \.onnx, \.mlpackage"):
        open_artifact(tmp_path / "a.txt")
    with pytest.raises(SpecError, match="no such file"):
        open_artifact(tmp_path / "a.onnx")
    (tmp_path / "b.onnx").write_bytes(b"\xff" * 99)
    with pytest.raises(MeasurementError, match=r"b\.onnx is no ONNX file, or damaged"):
        open_artifact(tmp_path / "b.onnx")
    (tmp_path / "b.mlpackage").mkdir()
    with pytest.raises(MeasurementError, match=r"b\.mlpackage: is no Core ML package"):
        open_artifact(tmp_path / "b.mlpackage")


def test_an_onnx_file_that_does_not_run_is_a_measurement_error(onnx_file, tmp_path):
    graph = onnx.load(onnx_file.path)
    graph.graph.node[0].op_type = "Nonsense"
    onnx.save(graph, tmp_path / "a.onnx")
    with pytest.raises(MeasurementError, match="ONNX Runtime cannot"):
        agreement(open_artifact(tmp_path / "a.onnx"), SMALL)


def test_the_images_with_the_widest_lead_are_taken_in_their_order():
    leads = np.array([0.1, 0.5, 0.3, 0.2, 0.4], np.float32)
    images = np.zeros((5, 2, 1, 1), np.float32)
    images[:, 0, 0, 0] = leads
    assert widest_leads(nn.Flatten(), images, count=3)[:, 0, 0, 0].tolist() == pytest.approx([0.5, 0.3, 0.4])


def test_images_are_those_that_a_search_selects_by(images):
    for data in ("fashion-mnist-mini", str(images)):
        whole = load_dataset(data, image_size=8, max_train=50).selection
        np.testing.assert_array_equal(load_images(data, image_size=8, count=3), whole.pixels_NSSC[:3])
    with pytest.raises(DataError, match="no such folder"):
        load_images("nowhere", image_size=8, count=3)


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "layout"), [(SMALL, "RGB"), (FIRST, "BGR")], ids=["v2", "v1"])
def test_an_image_is_given_in_the_order_of_the_network(arch, layout, tmp_path):
    artifact = exported(arch, tmp_path, options=CoreMLOptions(input_kind="image"))
    spec = parsed_spec(artifact.path / MODEL)
    (given,) = spec.description.input
    assert given.type.imageType.ColorSpace.Name(given.type.imageType.colorSpace) == layout
    assert (artifact.input_kind, artifact.input_shape) == ("image", (1, 3, 64, 64))
    assert agreement(artifact, arch).passed
    given.type.imageType.colorSpace = 30 if layout == "RGB" else 20
    (artifact.path / MODEL).write_bytes(spec.SerializeToString())
    assert not agreement(open_artifact(artifact.path), arch).passed
    with pytest.raises(SpecError, match="multiples of 1/255"):
        agreement(artifact, arch, np.full((1, 3, 64, 64), 0.3, np.float32))


def test_a_module_that_takes_no_image_gets_none(tmp_path):
    with pytest.raises(SpecError, match="is no image"):
        export_module(
            nn.ReLU(),
            tmp_path / "a.mlpackage",
            shape=(1, 8, 1, 4),
            convention="4 tokens",
            options=CoreMLOptions(input_kind="image"),
        )


def _verify(*arguments):
    return CliRunner().invoke(cli, ["verify", *map(str, arguments)])


REFUSED = {  # correct, and refused while the scores' scale and the norms' eps were not rounded as the file's are
    "heads": HEADS,
    "v1 at 224 pixels": replace(ArchConfig.mobilevitv1("s"), image_size=224),
}


@pytest.mark.parametrize("arch", REFUSED.values(), ids=REFUSED)
def test_whatever_a_file_keeps_in_half_precision_is_taken_out(arch, tmp_path):
    found = agreement(exported(arch, tmp_path), arch, noise(arch, 1))
    assert found.passed, found.lines()
    assert found.weights_share < 1e-6  # their norms are exact, and so is all the rest


def drawn(name, seed):
    """An architecture of a shipped space, at its own size."""
    chosen, space = random.Random(seed), load_space(name)
    return space.decode({axis.name: chosen.choice(axis.domain.values) for axis in space.axes})


@pytest.mark.parametrize(
    "arch",
    [drawn("blocks", 1004), drawn("blocks", 1016), ArchConfig.mobilevitv2(0.5, attention_layers=16)],
    ids=["four layers", "others", "sixteen layers"],
)
def test_no_norm_takes_what_half_precision_cannot_square(arch):
    """Converters square it, and 256 squared is infinite: such a package gave other classes."""
    taken = []
    model = untrained_network(arch, ClassifierHead(10)).eval()
    for module in model.modules():
        if isinstance(module, SampleNorm | nn.LayerNorm):
            module.register_forward_pre_hook(lambda _, given: taken.append(float(given[0].abs().max())))
    pixels = load_images("fashion-mnist-mini", image_size=arch.image_size, count=1)
    with torch.inference_mode():
        model(to_input(pixels, arch.channel_order))
    assert len(taken) > 10
    assert max(taken) < 128


class Cancelling(nn.Module):
    """The small difference of two large sums."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.a, self.b = nn.Conv2d(3, 4, 3, bias=False), nn.Conv2d(3, 4, 3, bias=False)
        self.a.weight.data = 20 + torch.rand((4, 3, 3, 3), generator=generator)
        self.b.weight.data = 20 + torch.rand((4, 3, 3, 3), generator=generator)

    def forward(self, x_BCHW):
        return (self.a(x_BCHW) - self.b(x_BCHW)).mean(dim=(2, 3))


def test_the_gates_know_how_well_conditioned_a_network_is(tmp_path):
    module, x = Cancelling().eval(), np.random.default_rng(0).random((2, 3, 16, 16), np.float32)
    artifact = export_module(module, tmp_path / "a.mlpackage", shape=(1, 3, 16, 16), convention="tokens")
    found = verify(artifact, module, x)
    assert found.condition > 3
    assert found.max_error > 0.01  # which a usual network may not have
    assert found.passed, found.lines()
    module.a.weight.data[2, 1, 1, 1] += 0.5
    assert not verify(artifact, module, x).passed


def test_the_gates_grow_with_the_condition_and_never_without():
    right = np.array([[1.0, 2.0], [3.0, 1.0]])
    near = right + np.array([[0.02, 0.0], [0.0, 0.0]])
    assert not judge("float16", right, near, 1e-4).passed
    assert judge("float16", right, near, 1e-4, condition=3.0).passed
    assert not judge("float16", right, near, 2e-4, condition=3.0).passed
    assert not judge("float16", right, right, 0.0, condition=np.nan).passed


def test_the_command_prints_the_gates_and_ends_by_them(package, onnx_file, tmp_path):
    (tmp_path / "small.yaml").write_text(arch_yaml(SMALL, []))
    for artifact, gates in ((package, 4), (onnx_file, 1)):
        ran = _verify(artifact.path, "--against", tmp_path / "small.yaml")
        assert ran.exit_code == 0, ran.output
        assert f"{artifact.path.name} agrees with small.yaml on 4 images" in ran.output
        assert ran.output.count("  ok  ") == gates
    other = replace(SMALL, kernel_sizes=(3, 3, 3, 3, 5))
    (tmp_path / "other.yaml").write_text(arch_yaml(other, []))
    ran = _verify(package.path, "--against", tmp_path / "other.yaml", "--json")
    assert ran.exit_code == 1
    told = json.loads(ran.output)
    assert not told["passed"]
    assert {gate["name"] for gate in told["gates"] if not gate["passed"]} >= {
        "share of the largest output that the weights' rounding leaves open"
    }


def test_the_command_takes_a_users_images(package, tmp_path):
    folder = write_images(tmp_path / "images", {"blue": 20, "red": 20})
    (tmp_path / "small.yaml").write_text(arch_yaml(SMALL, []))
    assert _verify(package.path, "--against", tmp_path / "small.yaml", "--data", folder).exit_code == 0


def test_the_command_tells_wrong_usage_from_a_damaged_file(package, tmp_path):
    for arguments, code in (
        ((tmp_path / "none.onnx", "--against", "mobilevitv2-0.5"), 2),
        ((tmp_path, "--against", "mobilevitv2-0.5"), 2),
        ((package.path, "--against", "nonsense"), 2),
        ((package.path, "--against", "mobilevitv2-0.5"), 2),  # takes 256 pixels
    ):
        ran = _verify(*arguments)
        assert ran.exit_code == code, ran.output
        assert ran.output.startswith("error: ")
    (tmp_path / "small.yaml").write_text(arch_yaml(SMALL, []))
    shutil.copytree(package.path, tmp_path / "cut.mlpackage")
    data = (package.path / WEIGHTS).read_bytes()
    (tmp_path / "cut.mlpackage" / WEIGHTS).write_bytes(data[:-100])
    ran = _verify(tmp_path / "cut.mlpackage", "--against", tmp_path / "small.yaml")
    assert ran.exit_code == 4
    assert "error: cut.mlpackage: weight.bin: " in ran.output


def _sampled(seed):
    """An architecture of two shipped spaces, on images small enough for a test."""
    chosen = random.Random(seed)
    for name in ("blocks", "attention"):
        space = load_space(name)
        params = {axis.name: chosen.choice(axis.domain.values) for axis in space.axes}
        yield replace(space.decode(params), image_size=64)


F32 = "float32"
SWEEP = [  # every formulation, mixer, version, target, precision and kind of input, not all of their combinations
    *((SMALL, name, CoreMLOptions()) for name in FORMULATION_NAMES if name != "rank5"),
    *((arch, "rank5", CoreMLOptions(precision=F32)) for arch in (FIRST, ODD)),
    (FIRST_ODD, "layer_norm", CoreMLOptions()),
    (FIRST, "sum_first", CoreMLOptions(target="iOS26", input_kind="image")),
    (SMALL, "sum_first", CoreMLOptions(target="iOS17", precision=F32)),
    (SMALL, "layer_norm", CoreMLOptions(target="iOS18", precision=F32, input_kind="image")),
    (SMALL, "rank5", CoreMLOptions(target="iOS18")),
    *((arch, "pixel_unshuffle", CoreMLOptions(target="iOS26")) for arch in _sampled(1)),
]


@pytest.mark.slow
@pytest.mark.parametrize(("arch", "formulation", "options"), SWEEP)
def test_whatever_is_exported_agrees(arch, formulation, options, tmp_path):
    artifact = exported(arch, tmp_path, options=options, formulation=formulation)
    assert (artifact.precision, artifact.input_kind) == (options.precision, options.input_kind)
    spec = parsed_spec(artifact.path / MODEL)
    assert spec.specificationVersion == {"iOS16": 7, "iOS17": 8, "iOS18": 9, "iOS26": 10}[options.target]
    found = agreement(artifact, arch)
    assert found.passed, found.lines()


@pytest.mark.slow
def test_a_package_has_the_same_hash_in_other_processes(package, tmp_path):
    code = (
        "import sys; from pathlib import Path; from mvit2_search.arch.config import ArchConfig;"
        "from mvit2_search.arch.head import ClassifierHead;"
        "from mvit2_search.export.untrained import export_model;"
        f"print(export_model({SMALL}, Path(sys.argv[1]), format='mlpackage', head=ClassifierHead(4)).sha256)"
    )
    assert in_another_process(code, tmp_path)[0][-1] == package.sha256
