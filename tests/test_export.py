"""Exported files hold the network, and the same network gives the same hash."""

import subprocess
import sys
import tempfile
from collections import Counter

import numpy as np
import onnx
import pytest
import torch

from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import MeasurementError
from mvit2_search.export.onnx import export_onnx
from mvit2_search.export.runtimes.onnxruntime import load_network
from mvit2_search.export.untrained import export_model, untrained_network
from mvit2_search.models import build_model

SMALL = ArchConfig.mobilevitv2(0.25, image_size=64)
OTHER = ArchConfig.mobilevitv2(0.25, image_size=64, attention_layers=(1, 0, 2), kernel_size=5)


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SMALL, OTHER], ids=["published", "other"])
def test_onnx_computes_what_torch_computes(tmp_path, arch):
    torch.manual_seed(5)
    model = build_model(arch, ClassifierHead(4)).eval()
    artifact = export_onnx(model, tmp_path / "a.onnx", (1, 3, 64, 64), "RGB")
    x = torch.rand(artifact.input_shape)
    (logits,) = load_network(artifact.path).run(None, {artifact.input_name: x.numpy()})
    with torch.inference_mode():
        np.testing.assert_allclose(logits, model(x).numpy(), atol=1e-5)
    assert np.ptp(logits) > 1e-4


@pytest.mark.slow
def test_the_hash_is_of_the_content(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    first = export_model(SMALL, tmp_path / "a", format="onnx", head=ClassifierHead(3))
    torch.manual_seed(99)  # whatever else a process has drawn
    again = export_model(SMALL, tmp_path / "b", format="onnx", head=ClassifierHead(3))
    more = export_model(SMALL, tmp_path / "b", format="onnx", head=ClassifierHead(4))
    other = export_model(OTHER, tmp_path / "b", format="onnx", head=ClassifierHead(3))
    assert first.sha256 == again.sha256
    assert len({first.sha256, more.sha256, other.sha256}) == 3


def test_the_norms_of_an_untrained_network_scale_and_shift():
    """Core ML drops a scale of 1 and a shift of 0, and would time a lighter network."""
    for name, parameter in untrained_network(SMALL, ClassifierHead(4)).named_parameters():
        if parameter.ndim == 1:
            assert not torch.isin(parameter.detach(), torch.tensor([0.0, 1.0])).any(), name


@pytest.mark.slow
@pytest.mark.parametrize("arch", [SMALL, ArchConfig.mobilevitv1("xxs")], ids=["v2", "v1"])
def test_the_file_states_the_order_of_the_channels(tmp_path, arch):
    artifact = export_model(arch, tmp_path, format="onnx", head=ClassifierHead(4))
    (image,) = onnx.load(artifact.path).graph.input
    assert image.doc_string.startswith("RGB, values in" if arch is SMALL else "BGR, values in")


def test_exporting_leaves_the_random_state_alone(tmp_path):
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    export_model(SMALL, tmp_path, format="onnx", head=ClassifierHead(3))
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.slow
def test_the_hash_is_the_same_in_another_process(tmp_path):
    code = (
        "import sys; from pathlib import Path; from mvit2_search.arch.config import ArchConfig;"
        "from mvit2_search.arch.head import ClassifierHead;"
        "from mvit2_search.export.untrained import export_model;"
        "print(export_model(ArchConfig.mobilevitv2(0.25, image_size=64), Path(sys.argv[1]), format='onnx',"
        " head=ClassifierHead(3)).sha256)"
    )
    printed = subprocess.run([sys.executable, "-c", code, tmp_path], capture_output=True, text=True, check=True)
    again = export_model(SMALL, tmp_path, format="onnx", head=ClassifierHead(3))
    assert printed.stdout.strip() == again.sha256


def test_what_cannot_be_exported_is_a_measurement_error(tmp_path):
    class Odd(torch.nn.Module):
        def forward(self, x):
            return torch.special.bessel_j0(x)

    with pytest.raises(MeasurementError, match="ONNX export failed"):
        export_onnx(Odd(), tmp_path / "a.onnx", (1, 3, 32, 32), "RGB")


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    """The published block and another network, converted."""
    folder = tmp_path_factory.mktemp("packages")
    made = []
    for i, arch in enumerate((SMALL, OTHER)):
        (folder / str(i)).mkdir()
        made.append(export_model(arch, folder / str(i), format="mlpackage", head=ClassifierHead(3)))
    return made


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestCoreML:
    def test_the_interface_is_explicit(self, packages):
        import coremltools

        spec = coremltools.utils.load_spec(str(packages[0].path))
        (given,), (returned,) = spec.description.input, spec.description.output
        assert given.shortDescription == "RGB, values in [0, 1], no mean or deviation taken off"
        half = coremltools.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16
        assert (given.name, returned.name) == ("image", "logits")
        assert list(given.type.multiArrayType.shape) == [1, 3, 64, 64]
        assert given.type.multiArrayType.dataType == returned.type.multiArrayType.dataType == half
        assert spec.specificationVersion == coremltools.target.iOS16.value

    def test_the_operators_are_those_of_the_network(self, packages):
        import coremltools

        spec = coremltools.utils.load_spec(str(packages[0].path))
        (block,) = spec.mlProgram.functions["main"].block_specializations.values()
        counts = Counter(operation.type for operation in block.operations)
        blocks, layers = 3, sum(SMALL.attention_layers)
        convolutions = 1 + 3 * 6 + 3 * blocks + 4 * layers  # stem, inverted residuals, block, encoder
        assert counts["conv"] == convolutions
        assert counts["softmax"] == layers
        assert counts["pixel_unshuffle"] == counts["pixel_shuffle"] == blocks
        assert counts["linear"] == 1
        assert counts["cast"] == counts["transpose"] == 0

    def test_the_weights_are_saved_in_half_precision(self, packages):
        from mvit2_search.arch.cost import network_cost

        weights = packages[0].path / "Data/com.apple.CoreML/weights/weight.bin"
        per_parameter = weights.stat().st_size / network_cost(SMALL, ClassifierHead(3)).params
        assert 1.9 < per_parameter < 2.3

    def test_the_hash_is_of_the_content(self, packages):
        """Equal networks have equal hashes, also in other processes: see test_verify.py."""
        assert packages[0].sha256 != packages[1].sha256

    def test_the_package_opens_again(self, packages):
        import coremltools

        model = coremltools.models.MLModel(str(packages[1].path), skip_model_load=True)
        assert model.get_spec().WhichOneof("Type") == "mlProgram"


@pytest.mark.slow
def test_a_conversion_leaves_nothing_in_the_temporary_folder(tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    arch = ArchConfig.mobilevitv2(0.25, image_size=32)
    artifact = export_model(arch, tmp_path, format="mlpackage", head=ClassifierHead(2))
    assert list(temporary.iterdir()) == []
    assert {path.name for path in tmp_path.iterdir()} == {"temporary", artifact.path.name}
