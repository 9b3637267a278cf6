"""Saved Core ML packages are read and executed as the MIL reference describes them.

Each operator is tried on a program made by coremltools' builder, against NumPy or torch; no network of this
package is in these programs.
"""

import gc
import json
import shutil
import warnings
from contextlib import redirect_stderr
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mvit2_search.errors import MeasurementError
from mvit2_search.export.mil.interpreter import Interpreter, run_mlpackage
from mvit2_search.export.mil.mlpackage import import_coremltools, read_mlpackage
from mvit2_search.export.mil.operators import OPERATORS
from mvit2_search.export.mil.program import read_program

coremltools = import_coremltools()
from coremltools.converters.mil import Builder as mb  # noqa: E402, N813

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")
RNG = np.random.default_rng(0)
X = RNG.standard_normal((1, 8, 6, 6)).astype(np.float32)
W33 = RNG.standard_normal((12, 4, 3, 3)).astype(np.float32)
B12, B8 = RNG.standard_normal(12).astype(np.float32), RNG.standard_normal(8).astype(np.float32)
V8 = (1 + RNG.random(8)).astype(np.float32)
W65 = RNG.standard_normal((5, 6)).astype(np.float32)
B5 = RNG.standard_normal(5).astype(np.float32)
Y = RNG.standard_normal((1, 8, 6, 6)).astype(np.float32)
MEAN = X.mean((2, 3), keepdims=True)


def torched(function):
    """`function` of X as a torch tensor."""
    return function(torch.from_numpy(X)).numpy()


CASES = {
    "conv": (
        lambda x: mb.conv(
            x=x,
            weight=W33,
            bias=B12,
            strides=[2, 1],
            pad_type="custom",
            pad=[1, 0, 2, 1],
            dilations=[1, 2],
            groups=2,
        ),
        torched(
            lambda x: F.conv2d(F.pad(x, (2, 1, 1, 0)), torch.tensor(W33), torch.tensor(B12), (2, 1), 0, (1, 2), 2)
        ),
    ),
    "linear": (lambda x: mb.linear(x=x, weight=W65, bias=B5), X @ W65.T + B5),
    "matmul": (lambda x: mb.matmul(x=x, y=Y, transpose_y=True), np.einsum("bcij,bckj->bcik", X, Y)),
    "matmul of the transposed": (
        lambda x: mb.matmul(x=x, y=Y, transpose_x=True),
        np.einsum("bcji,bcjk->bcik", X, Y),
    ),
    "batch_norm": (
        lambda x: mb.batch_norm(x=x, mean=B8, variance=V8, gamma=V8, beta=B8, epsilon=0.1),
        (X - B8[:, None, None]) / np.sqrt(V8 + 0.1)[:, None, None] * V8[:, None, None] + B8[:, None, None],
    ),
    "layer_norm": (
        lambda x: mb.layer_norm(x=x, axes=[2, 3], epsilon=0.5),
        (X - MEAN) / np.sqrt(X.var((2, 3), keepdims=True) + 0.5),
    ),
    "softmax": (lambda x: mb.softmax(x=x, axis=1), np.exp(X) / np.exp(X).sum(1, keepdims=True)),
    "reduce_mean": (lambda x: mb.reduce_mean(x=x, axes=[1, -1], keep_dims=True), X.mean((1, 3), keepdims=True)),
    "reduce_sum": (lambda x: mb.reduce_sum(x=x, axes=[2], keep_dims=False), X.sum(2)),
    "add": (lambda x: mb.add(x=x, y=Y), X + Y),
    "sub": (lambda x: mb.sub(x=x, y=Y), X - Y),
    "sub, turned": (lambda x: mb.sub(x=Y, y=x), Y - X),
    "mul": (lambda x: mb.mul(x=x, y=Y), X * Y),
    "real_div": (lambda x: mb.real_div(x=x, y=np.abs(Y) + 1), X / (np.abs(Y) + 1)),
    "square": (lambda x: mb.square(x=x), X**2),
    "sqrt": (lambda x: mb.sqrt(x=mb.square(x=x)), np.abs(X)),
    "relu": (lambda x: mb.relu(x=x), np.maximum(X, 0)),
    "silu": (lambda x: mb.silu(x=x), X / (1 + np.exp(-X))),
    "identity": (lambda x: mb.identity(x=x), X),
    "reshape": (lambda x: mb.reshape(x=x, shape=[4, -1, 3]), X.reshape(4, -1, 3)),
    "transpose": (lambda x: mb.transpose(x=x, perm=[0, 2, 3, 1]), X.transpose(0, 2, 3, 1)),
    "squeeze": (lambda x: mb.squeeze(x=x, axes=[0]), X[0]),
    "expand_dims": (lambda x: mb.expand_dims(x=mb.relu(x=x), axes=[1]), np.maximum(X, 0)[:, None]),
    "split": (lambda x: mb.split(x=x, axis=1, split_sizes=[3, 5])[1], X[:, 3:]),
    "split into equals": (lambda x: mb.split(x=x, axis=3, num_splits=3)[1], X[..., 2:4]),
    "concat": (lambda x: mb.concat(values=[x, Y], axis=2), np.concatenate([X, Y], 2)),
    "pixel_unshuffle": (
        lambda x: mb.pixel_unshuffle(x=x, downscale_factor=np.uint32(3)),
        torched(lambda x: F.pixel_unshuffle(x, 3)),
    ),
    "pixel_shuffle": (
        lambda x: mb.pixel_shuffle(x=x, upscale_factor=2),
        torched(lambda x: F.pixel_shuffle(x, 2)),
    ),
    "upsample_bilinear": (
        lambda x: mb.upsample_bilinear(
            x=x, scale_factor_height=1.5, scale_factor_width=0.8334, align_corners=False
        ),
        torched(lambda x: F.interpolate(x, size=(9, 5), mode="bilinear", align_corners=False)),
    ),
    "upsample_bilinear with the corners": (
        lambda x: mb.upsample_bilinear(x=x, scale_factor_height=1.5, scale_factor_width=2.0, align_corners=True),
        torched(lambda x: F.interpolate(x, size=(9, 12), mode="bilinear", align_corners=True)),
    ),
    "cast": (lambda x: mb.cast(x=mb.cast(x=x, dtype="fp16"), dtype="fp32"), X.astype(np.float16)),
}


def saved(build, path):
    """A package of one program, as coremltools writes it without its optimisations."""

    @mb.program(input_specs=[mb.TensorSpec(shape=X.shape)], opset_version=coremltools.target.iOS16)
    def program(x):
        return mb.identity(x=build(x), name="y")

    with warnings.catch_warnings(action="ignore"), redirect_stderr(StringIO()):
        package = coremltools.convert(
            program,
            convert_to="mlprogram",
            compute_precision=coremltools.precision.FLOAT32,
            minimum_deployment_target=coremltools.target.iOS16,
            pass_pipeline=coremltools.PassPipeline.EMPTY,
            skip_model_load=True,
        )
        package.save(str(path))
        del package, program
        gc.collect()  # the converter leaves a temporary folder to be found so, with a warning
    return read_mlpackage(path)


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """All cases in one program, as a conversion takes a second: the results have the cases' names."""

    def build(x):
        for number, (operator, _) in enumerate(CASES.values()):
            mb.identity(x=operator(x), name=f"case{number}")
        return x

    return read_program(saved(build, tmp_path_factory.mktemp("cases") / "a.mlpackage").path)


def alone(program, result):
    """The part of the program that computes one result."""
    needed, operations = {result}, []
    for operation in reversed(program.operations):
        if not needed.isdisjoint(name for name, _ in operation.outputs):
            operations.insert(0, operation)
            needed.update(item for items in operation.inputs.values() for item in items if isinstance(item, str))
    return replace(program, operations=tuple(operations), output_name=result)


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_an_operator_computes_what_its_reference_says(name, program):
    part = alone(program, f"case{list(CASES).index(name)}")
    assert name.split(",")[0].split()[0] in [operation.kind for operation in part.operations]
    np.testing.assert_allclose(Interpreter(part)(torch.from_numpy(X)).numpy(), CASES[name][1], atol=2e-5)


def test_every_operator_is_tried():
    assert {name.split(",")[0].split()[0] for name in CASES} == {*OPERATORS, "cast"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """A convolution, a transposition and a difference."""

    def build(x):
        y = mb.conv(x=x, weight=W33[:, :, :1, :1].repeat(2, 1), strides=[1, 1], pad_type="valid", name="first")
        y = mb.transpose(x=y, perm=[0, 1, 3, 2], name="turned")
        return mb.sub(x=y, y=B12[:, None, None], name="less")

    return saved(build, tmp_path_factory.mktemp("mil") / "a.mlpackage").path


def edited(package, path, edit):
    """A copy of the package with another specification."""
    shutil.copytree(package, path)
    model = path / "Data/com.apple.CoreML/model.mlmodel"
    spec = coremltools.utils.load_spec(str(path))
    (block,) = spec.mlProgram.functions["main"].block_specializations.values()
    edit({operation.outputs[0].name: operation for operation in block.operations}, spec)
    model.write_bytes(spec.SerializeToString())
    return path


def _unknown(operations, _):
    operations["less"].type = "floor_div"


def _no_such_value(operations, _):
    operations["less"].inputs["x"].arguments[0].name = "nowhere"


def _extra_input(operations, _):
    operations["turned"].inputs["axis"].CopyFrom(operations["turned"].inputs["perm"])


def _missing_input(operations, _):
    del operations["turned"].inputs["perm"]


def _other_shape(operations, _):
    operations["turned"].outputs[0].type.tensorType.dimensions[1].constant.size = 13


def _other_dtype(operations, _):
    operations["turned"].outputs[0].type.tensorType.dataType = 10


def _fewer_numbers(operations, _):
    operations["first_weight_0"].attributes["val"].type.tensorType.dimensions[0].constant.size = 11


def _outside(operations, _):
    operations["first_weight_0"].attributes["val"].blobFileValue.offset = 1 << 20


def _between(operations, _):
    operations["first_weight_0"].attributes["val"].blobFileValue.offset += 64


def _other_interface(_, spec):
    spec.description.output[0].type.multiArrayType.shape[1] = 13


def _other_function(_, spec):
    spec.mlProgram.functions["other"].CopyFrom(spec.mlProgram.functions["main"])


def _other_version(_, spec):
    spec.specificationVersion = 99


REFUSED = {
    _unknown: "floor_div less: this operator is not known here",
    _no_such_value: "sub less: nowhere is computed nowhere before",
    _extra_input: "transpose turned: has no input called axis",
    _missing_input: "transpose turned: .*perm",
    _other_shape: r"transpose turned: turned has the shape \[1, 12, 6, 6\] and is declared float32\[1, 13, 6, 6\]",
    _other_dtype: "transpose turned: gives float32 and declares float16",
    _fewer_numbers: "first_weight_0 is declared .* and has 96 values",
    _outside: "weight.bin: first_weight_0: byte 1048576 lies outside",
    _between: "weight.bin: first_weight_0: no tensor at byte",
    _other_interface: "the interface says y: .*13.*, the program y",
    _other_function: "expected one function called main",
    _other_version: "version 99",
}


@pytest.mark.slow
@pytest.mark.parametrize("edit", REFUSED, ids=lambda edit: edit.__name__.strip("_"))
def test_a_damaged_program_is_refused(edit, package, tmp_path):
    path = edited(package, tmp_path / "b.mlpackage", edit)
    with pytest.raises(MeasurementError, match=f"b.mlpackage: {REFUSED[edit]}"):
        run_mlpackage(read_mlpackage(path), X)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-20], "lie outside of the file"),
        (lambda data: data[:30], "hold no header"),
        (lambda data: data[:4] + b"\x07" + data[5:], "version 7, expected 2"),
        (lambda data: data[:64] + b"\0" + data[65:], "no tensor at byte 64: 0xdeadbe00"),
        (lambda data: data[:68] + b"\x01" + data[69:], "numbers of type 1, expected float32"),
        (lambda data: b"\x01" + data[1:], "holds 1 tensors and more are used"),
    ],
    ids=["truncated", "no header", "version", "sentinel", "type", "count"],
)
def test_a_damaged_weight_file_is_refused(damage, message, package, tmp_path):
    shutil.copytree(package, tmp_path / "b.mlpackage")
    file = tmp_path / "b.mlpackage/Data/com.apple.CoreML/weights/weight.bin"
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(MeasurementError, match=rf"b\.mlpackage: weight\.bin: .*{message}"):
        read_program(tmp_path / "b.mlpackage")


@pytest.mark.parametrize("name", ["Manifest.json", "Data/com.apple.CoreML/model.mlmodel"])
def test_a_file_that_is_cut_short_or_missing_is_refused(name, package, tmp_path):
    shutil.copytree(package, tmp_path / "b.mlpackage")
    file = tmp_path / "b.mlpackage" / name
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(MeasurementError, match=r"b\.mlpackage: .* is damaged"):
        read_program(tmp_path / "b.mlpackage")
    file.unlink()
    with pytest.raises(MeasurementError, match=r"b\.mlpackage: cannot be read: No such file"):
        read_program(tmp_path / "b.mlpackage")


def test_the_manifest_says_which_file_is_the_model(package, tmp_path):
    shutil.copytree(package, tmp_path / "b.mlpackage")
    manifest = tmp_path / "b.mlpackage/Manifest.json"
    content = json.loads(manifest.read_text())
    del content["rootModelIdentifier"]
    manifest.write_text(json.dumps(content))
    with pytest.raises(MeasurementError, match=r"Manifest\.json is damaged"):
        read_program(tmp_path / "b.mlpackage")


def test_changed_inputs_of_an_operator_change_the_result(package, tmp_path):
    """The file is what is executed, not what it was made from."""

    def swapped(operations, _):
        inputs = operations["less"].inputs
        x, y = inputs["x"].arguments[0].name, inputs["y"].arguments[0].name
        inputs["x"].arguments[0].name, inputs["y"].arguments[0].name = y, x

    right = run_mlpackage(read_mlpackage(package), X)
    turned = run_mlpackage(read_mlpackage(edited(package, tmp_path / "b.mlpackage", swapped)), X)
    np.testing.assert_allclose(turned, -right)


def test_half_precision_rounds_every_result_and_single_precision_none(tmp_path):
    """1/3 of 1 + 2**-12: the sum is no number of half precision, and its third still less."""

    def build(x):
        third = mb.mul(x=mb.add(x=mb.cast(x=x, dtype="fp16"), y=np.float16(2**-12)), y=np.float16(1 / 3))
        return mb.cast(x=third, dtype="fp32")

    program = read_program(saved(build, tmp_path / "a.mlpackage").path)
    ones, third = torch.ones(X.shape), float(np.float16(1 / 3))
    assert Interpreter(program)(ones)[0, 0, 0, 0] == third
    exact = Interpreter(program, "float32")(ones)[0, 0, 0, 0]
    assert exact == pytest.approx((1 + 2**-12) * third, rel=1e-7)
