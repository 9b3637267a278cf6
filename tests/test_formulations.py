"""Ways to write down a network: the same outputs, and the operators that each is there for."""

import warnings
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.export.formats import export_module
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.export.untrained import export_model
from mvit2_search.models import FORMULATIONS, build_model, formulated
from mvit2_search.records import DEFAULT_FORMULATION, FORMULATION_NAMES
from reference import randomised, reference_logits, relative_error

TOLERANCE = 1e-4
ARCHS = {
    "published block": ArchConfig.mobilevitv2(0.25),
    "other patches": ArchConfig.mobilevitv2(0.33, patch_size=(4, 1, 2), attention_layers=(1, 0, 2)),
    "first version": ArchConfig.mobilevitv1("xxs"),
    "first version, separable": replace(ArchConfig.mobilevitv1("xxs"), attention=("separable",) * 3),
}


def ranks_and_operators(model, x):
    """Highest rank of any tensor, and how often each operator occurs, in the traced network."""
    with warnings.catch_warnings(action="ignore"):
        graph = torch.jit.trace(model, x, check_trace=False).inlined_graph
    nodes = list(graph.nodes())
    outputs = [out.type() for node in nodes for out in node.outputs()]
    ranks = [kind.dim() or 0 for kind in outputs if isinstance(kind, torch._C.TensorType)]
    return max(ranks), Counter(node.kind() for node in nodes)


def test_every_name_has_a_formulation():
    assert tuple(FORMULATIONS) == FORMULATION_NAMES
    assert DEFAULT_FORMULATION in FORMULATIONS


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
@torch.inference_mode()
def test_outputs_are_those_of_the_reference(name, arch):
    model = randomised(build_model(arch, ClassifierHead(5)))
    for size in ((64, 64), (97, 33)):
        x = torch.rand(3, 3, *size, generator=torch.Generator().manual_seed(1))
        assert relative_error(formulated(model, name)(x), reference_logits(model, x)) < TOLERANCE


@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("attention", ["multi_head", "linformer"])
@torch.inference_mode()
def test_other_mixers_are_formulated_too(name, attention):
    model = randomised(
        build_model(ArchConfig.mobilevitv2(0.25, attention=attention, image_size=64), ClassifierHead(5))
    )
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    assert relative_error(formulated(model, name)(x), model(x)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.parametrize("arch", ARCHS.values(), ids=ARCHS)
def test_no_tensor_has_more_than_five_axes(arch):
    x = torch.rand(1, 3, 64, 64)
    model = build_model(arch, ClassifierHead(3)).eval()
    assert ranks_and_operators(model, x)[0] == 6  # the form that trains
    for name in FORMULATIONS:
        assert ranks_and_operators(formulated(model, name), x)[0] <= 5, name


@pytest.mark.slow
def test_each_formulation_has_the_operators_that_it_is_named_after():
    model, x = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(3)).eval(), torch.rand(1, 3, 64, 64)
    counts = {name: ranks_and_operators(formulated(model, name), x)[1] for name in FORMULATIONS}
    norms, blocks = 2 * 9 + 3, 3
    assert counts["rank5"]["aten::pixel_unshuffle"] == 0
    assert counts["rank5"]["aten::permute"] == 2 * blocks
    for name in ("pixel_unshuffle", "layer_norm", "sum_first"):
        assert counts[name]["aten::pixel_unshuffle"] == counts[name]["aten::pixel_shuffle"] == blocks
        assert counts[name]["aten::permute"] == 0
    assert counts["pixel_unshuffle"]["aten::group_norm"] == norms
    assert counts["layer_norm"]["aten::group_norm"] == 0
    assert counts["layer_norm"]["aten::layer_norm"] == norms
    assert counts["pixel_unshuffle"]["aten::linear"] == 1
    assert counts["layer_norm"]["aten::linear"] == 0
    assert counts["sum_first"]["aten::_convolution"] - counts["layer_norm"]["aten::_convolution"] == 2 * 9


def test_a_formulation_leaves_the_network_itself_alone():
    model = build_model(ArchConfig.mobilevitv2(0.25), ClassifierHead(3))
    before = [type(module) for module in model.modules()]
    formulated(model, "sum_first")
    assert [type(module) for module in model.modules()] == before
    assert model.training


MIXED = {
    "v2": ArchConfig.mobilevitv2(0.25, attention=("separable", "multi_head", "linformer"), image_size=64),
    "v1": replace(
        ArchConfig.mobilevitv1("xxs"), attention=("multi_head", "linformer", "separable"), image_size=64
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", FORMULATIONS)
@pytest.mark.parametrize("arch", MIXED.values(), ids=MIXED)
def test_every_formulation_runs_on_onnx_runtime(name, arch, tmp_path):
    model = randomised(build_model(arch, ClassifierHead(4)))
    artifact = export_module(formulated(model, name), tmp_path / "a.onnx", shape=(1, 3, 64, 64), convention="RGB")
    session = load_network(artifact.path)
    x = torch.rand(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    found = [session.run(None, {"image": image[None].numpy()})[0] for image in x]
    with torch.inference_mode():
        assert relative_error(torch.from_numpy(np.concatenate(found)), model(x)) < TOLERANCE


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize(("name", "operators"), [("pixel_unshuffle", 386), ("layer_norm", 219)])
def test_core_ml_operators_of_width_1(name, operators, tmp_path):
    import coremltools

    artifact = export_model(
        ArchConfig.mobilevitv2(1.0), tmp_path, format="mlpackage", head=ClassifierHead(1000), formulation=name
    )
    spec = coremltools.utils.load_spec(str(artifact.path))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    assert sum(operation.type != "const" for operation in block.operations) == operators
