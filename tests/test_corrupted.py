"""Packages that were tampered with, as a converter's mistake or a bad disk would do it, never pass."""

import shutil

import numpy as np
import pytest

from exports import FEW, FIRST, HEADS, MODEL, SMALL, WEIGHTS, agreement, exported, noise
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import MeasurementError, SpecError
from mvit2_search.export.formats import open_artifact
from mvit2_search.export.mil.mlpackage import parsed_spec
from mvit2_search.export.untrained import export_model, verify_network

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


def edited(package, folder, edit):
    """A copy of the package with another specification."""
    path = folder / "edited.mlpackage"
    shutil.copytree(package.path, path)
    spec = parsed_spec(path / MODEL)
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    edit({operation.outputs[0].name: operation for operation in block.operations}, list(block.operations))
    (path / MODEL).write_bytes(spec.SerializeToString())
    return open_artifact(path)


def constant_of(by_name, operation, name):
    (argument,) = operation.inputs[name].arguments
    return by_name[argument.name].attributes["val"].immediateValue.tensor


def first_of(operations, kind):
    return next(operation for operation in operations if operation.type == kind)


def _eps(by_name, operations):
    tensor = constant_of(by_name, first_of(operations, "batch_norm"), "epsilon")
    tensor.bytes.values = np.float16(0.01).tobytes()


def _axis(by_name, operations):
    constant_of(by_name, first_of(operations, "softmax"), "axis").ints.values[0] = -2


def _perm(by_name, operations):
    """Patches in the order of columns: the shapes stay."""
    for operation in operations:
        if operation.type == "transpose" and len(operation.outputs[0].type.tensorType.dimensions) == 5:
            values = constant_of(by_name, operation, "perm").ints.values
            if list(values) == [0, 2, 4, 1, 3]:
                values[:] = [0, 4, 2, 1, 3]
                return
    raise AssertionError("no such transposition")


def _swapped(by_name, operations):
    inputs = first_of(operations, "sub").inputs
    x, y = inputs["x"].arguments[0].name, inputs["y"].arguments[0].name
    inputs["x"].arguments[0].name, inputs["y"].arguments[0].name = y, x


def _padding(by_name, operations):
    convolution = next(o for o in operations if o.type == "conv" and 1 in _pads(by_name, o))
    constant_of(by_name, convolution, "pad").ints.values[:] = [2, 0, 2, 0]


def _pads(by_name, operation):
    return list(constant_of(by_name, operation, "pad").ints.values)


def _stride(by_name, operations):
    constant_of(by_name, first_of(operations, "conv"), "strides").ints.values[:] = [1, 2]


@pytest.fixture(scope="module")
def permuting(tmp_path_factory):
    return exported(SMALL, tmp_path_factory.mktemp("verify"), formulation="rank5")


@pytest.mark.parametrize("edit", [_eps, _axis, _perm, _swapped, _padding], ids=lambda edit: edit.__name__[1:])
def test_a_changed_program_does_not_pass(edit, permuting, tmp_path):
    assert not agreement(edited(permuting, tmp_path, edit), SMALL, noise(SMALL, 1)).passed


def test_a_changed_stride_contradicts_the_shapes(package, tmp_path):
    with pytest.raises(MeasurementError, match=r"conv .* has the shape \[1, 16, 64, 32\] and is declared"):
        agreement(edited(package, tmp_path, _stride), SMALL)


def blobs(path):
    """Where the numbers of each tensor begin, and how many bytes they are."""
    data = (path / WEIGHTS).read_bytes()
    count, place, found = int.from_bytes(data[:4], "little"), 64, []
    for _ in range(count):
        size, begin = (int.from_bytes(data[place + i : place + i + 8], "little") for i in (8, 16))
        found.append((begin, size))
        place = -(-(begin + size) // 64) * 64
    return found


def flipped(package, folder, *, tensor, bit):
    """A copy with one bit of one weight flipped: 15 is the sign, 14 the highest of the exponent."""
    path = folder / "flipped.mlpackage"
    shutil.copytree(package.path, path)
    begin, size = blobs(path)[tensor]
    data = bytearray((path / WEIGHTS).read_bytes())
    weights = np.frombuffer(data, "<u2", count=size // 2, offset=begin)
    largest = int(np.abs(weights.view("<f2")).argmax())
    weights[largest] ^= 1 << bit
    (path / WEIGHTS).write_bytes(data)
    return open_artifact(path)


@pytest.mark.slow
@pytest.mark.parametrize("bit", [15, 14], ids=["sign", "exponent"])
@pytest.mark.parametrize("tensor", [0, 10, 25, -4, -2])
def test_one_flipped_bit_of_one_weight_does_not_pass(tensor, bit, package, tmp_path):
    found = flipped(package, tmp_path, tensor=tensor, bit=bit)
    assert found.sha256 != package.sha256
    assert not agreement(found, SMALL, noise(SMALL, 1)).passed


OTHERS = {"attention": HEADS, "v1": FIRST, "few layers": FEW}


@pytest.fixture(scope="module", params=OTHERS.values(), ids=OTHERS)
def other(request, tmp_path_factory):
    """A package of another network, and that network."""
    return exported(request.param, tmp_path_factory.mktemp("other")), request.param


def fails(artifact, arch):
    return not agreement(artifact, arch, noise(arch, 1)).passed


@pytest.mark.parametrize("tensor", [1, 8, 16, -3, -2])
def test_one_wrong_sign_in_other_networks_does_not_pass(tensor, other, tmp_path):
    package, arch = other
    assert fails(flipped(package, tmp_path, tensor=tensor, bit=15), arch)


@pytest.mark.parametrize("tensor", [0, 7, -4])
def test_two_swapped_channels_do_not_pass(tensor, other, tmp_path):
    package, arch = other
    path = tmp_path / "swapped.mlpackage"
    shutil.copytree(package.path, path)
    begin, size = blobs(path)[tensor]
    data = bytearray((path / WEIGHTS).read_bytes())
    weights = np.frombuffer(data, "<u2", count=size // 2, offset=begin)
    half = len(weights) // 2  # of the output channels, whatever else the shape is
    weights[:] = np.concatenate([weights[half:], weights[:half]])
    (path / WEIGHTS).write_bytes(data)
    assert fails(open_artifact(path), arch)


def test_a_wrong_padding_in_other_networks_does_not_pass(other, tmp_path):
    package, arch = other
    assert fails(edited(package, tmp_path, _padding), arch)


def retold(package, folder, edit):
    """A copy whose whole specification is edited."""
    path = folder / "retold.mlpackage"
    shutil.copytree(package.path, path)
    spec = parsed_spec(path / MODEL)
    edit(spec)
    (path / MODEL).write_bytes(spec.SerializeToString())
    return path


def _flexible(spec):
    spec.description.input[0].type.multiArrayType.shapeRange.sizeRanges.add(lowerBound=1, upperBound=2)


def _optional(spec):
    spec.description.input[0].type.isOptional = True


def _function(spec):
    spec.description.defaultFunctionName = "other"


def _twice(spec):
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    block.operations.append(first_of(block.operations, "const"))


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (_flexible, "flexible shapes are not known"),
        (_optional, "optional values"),
        (_function, "several functions"),
        (_twice, "two constants called"),
    ],
)
def test_what_no_export_has_is_refused(edit, message, package, tmp_path):
    path = retold(package, tmp_path, edit)
    with pytest.raises(MeasurementError, match=message):
        agreement(open_artifact(path), SMALL)


def test_a_manifest_that_names_another_program_is_refused(package, tmp_path):
    """The hash would be of one program and Core ML would run the other."""
    path = tmp_path / "two.mlpackage"
    shutil.copytree(package.path, path)
    shutil.copy(path / MODEL, (path / MODEL).with_name("other.mlmodel"))
    manifest = path / "Manifest.json"
    manifest.write_text(manifest.read_text().replace("model.mlmodel", "other.mlmodel"))
    with pytest.raises(MeasurementError, match=r"names .*other.mlmodel"):
        agreement(open_artifact(path), SMALL)


def test_a_file_that_states_another_order_of_channels_is_refused(package, tmp_path):
    def bgr(spec):
        given = spec.description.input[0]
        given.shortDescription = given.shortDescription.replace("RGB", "BGR")

    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
    assert verify_network(open_artifact(package.path), SMALL, images).passed
    with pytest.raises(SpecError, match=r"says that it takes 'BGR.*the architecture takes 'RGB"):
        verify_network(open_artifact(retold(package, tmp_path, bgr)), SMALL, images)


def test_one_class_is_always_the_first(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (4, 64, 64, 3), dtype=np.uint8)
    arch = ArchConfig.mobilevitv2(0.25, image_size=64)
    artifact = export_model(arch, tmp_path, format="onnx", head=ClassifierHead(1))
    assert verify_network(artifact, arch, images).passed
