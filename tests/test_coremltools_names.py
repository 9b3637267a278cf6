"""Each name, parameter and attribute of coremltools that is used, held to the installed package and the Mac's.

What is used is read off the sources, so that a new use cannot be forgotten here. What the worker uses of the
objects that coremltools gives is read off `measure.devices.coreml.worker`, to which mypy holds it.
"""

import enum
import subprocess
from pathlib import Path

import pytest

import mvit2_search
from mac_wheels import mac_wheel
from mvit2_search.export import coreml as exporter
from mvit2_search.measure.devices.coreml import device as coreml
from mvit2_search.measure.devices.coreml import worker as coreml_types
from mvit2_search.measure.devices.coreml.worker import COMPUTE_DEVICES
from mvit2_search.records import PRECISIONS, TARGETS
from package_names import (
    check_member,
    check_use,
    differing,
    library_calls,
    members,
    protocols,
    resolve,
    unnamed,
)
from package_uses import RESULT, uses, uses_below

ROOT = Path(mvit2_search.__file__).parent
MODEL, SPEC = ("models", "MLModel"), ("proto", "Model_pb2", "Model")
RETURNS = {  # the class of what a call gives, where its attributes are used
    MODEL: MODEL,
    SPEC: SPEC,
    ("convert",): MODEL,
    ("utils", "load_spec"): SPEC,
    (*MODEL, "get_spec"): SPEC,
}
MADE_AT_RUN_TIME = {  # members of enumerations that are chosen by name
    ("ComputeUnit",): list(coreml.COMPUTE_UNITS.values()),
    ("target",): TARGETS,
    ("precision",): [precision.upper() for precision in PRECISIONS],
    ("colorlayout",): exporter.ORDERS,
}
PROXIES = ("proxy", "self.__proxy__", "_MLModelProxy")  # as coremltools calls its library's objects
USES = uses_below(ROOT, package="coremltools", returns=RETURNS)


def chains():
    """Each use once for each name that may be meant."""
    for use in USES:
        if use.chain[-1] == "*" and use.chain[:-1] in MADE_AT_RUN_TIME:
            yield from ((use, (*use.chain[:-1], name)) for name in MADE_AT_RUN_TIME[use.chain[:-1]])
        else:
            yield use, use.chain


def test_uses_are_found_in_all_that_names_coremltools():
    found = {use.where.partition(":")[0] for use in USES}
    assert {"export/coreml.py", "export/mil/mlpackage.py", "measure/devices/coreml/worker.py"} <= found
    called = {use.chain for use in USES if use.called}
    assert {("convert",), ("TensorType",), MODEL} <= called
    assert {(*MODEL, "save"), (*MODEL, "input_description")} <= {use.chain for use in USES}


def test_finding_uses():
    source = """
def f(coremltools, name):
    from coremltools.proto import Model_pb2
    model = coremltools.models.MLModel("a", compute_units=coremltools.ComputeUnit[name])
    model.predict({})
    spec = Model_pb2.Model()
    spec.description.metadata.Clear()
    getattr(coremltools.target, name)
    coremltools.other().thing
    model = name
    model.not_of_it
def g(model):
    import_coremltools().utils.load_spec(model.no)
async def h(coremltools):
    model = await coremltools.convert(1, *name, **name)
    model.save(1, 2)
    coremltools = model = 0
def i(coremltools):
    coremltools.last
"""
    found = uses(source, "a.py", package="coremltools", returns=RETURNS)
    assert [(use.chain, use.positional, use.keywords) for use in found if use.called] == [
        (MODEL, 1, ("compute_units",)),
        ((*MODEL, "predict"), 1, ()),
        (SPEC, 0, ()),
        ((*SPEC, "description", "metadata", "Clear"), 0, ()),
        (("other",), 0, ()),
        (("utils", "load_spec"), 1, ()),
        (("convert",), 1, ("*", "**")),
        ((*MODEL, "save"), 2, ()),
    ]
    names = {use.chain for use in found}
    assert {("ComputeUnit", "*"), ("target", "*"), ("other", RESULT, "thing"), ("last",)} <= names
    assert not any("not_of_it" in chain or "no" in chain for chain in names)


@pytest.fixture(scope="module")
def installed():
    return exporter.import_coremltools()


@pytest.mark.slow
def test_the_installed_package_has_each_name_and_takes_the_arguments(installed):
    for use, chain in chains():
        check_use(installed, use, chain)
    for name in MADE_AT_RUN_TIME:
        assert issubclass(resolve(installed, name), enum.Enum)


def path_of(protocol: type) -> tuple[str, ...]:
    module = "model" if protocol is coreml_types.MLModel else "compute_plan"
    return ("models", module, protocol.__name__)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", protocols(coreml_types), ids=lambda one: one.__name__)
def test_the_package_has_each_member_of_the_objects(installed, protocol):
    assert members(protocol)
    for member in members(protocol):
        check_member(installed, path_of(protocol), protocol, member)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with mac_wheel("coremltools", tmp_path_factory.mktemp("wheel")) as file:
        yield file


@pytest.mark.slow
def test_the_macs_package_has_the_same_python_code(installed, wheel):
    """So that all that is found in the installed package holds for the Mac's."""
    assert sum(name.endswith(".py") for name in wheel.namelist()) > 300
    assert differing(wheel, Path(installed.__file__).parent) == []


@pytest.mark.slow
def test_the_macs_library_has_what_those_members_call(wheel):
    """The one part that is not installed here. The device looks for it beside `coremltools/__init__.py`."""
    library = wheel.read("coremltools/libcoremlpython.so")
    called = set()
    for protocol in (coreml_types.MLModel, coreml_types.MLComputePlan):
        source = wheel.read("/".join(("coremltools", *path_of(protocol)[:-1])) + ".py")
        names = {*members(protocol), "__init__", "load_from_path"}
        called |= library_calls(source, protocol.__name__, names, objects=PROXIES)
    expected = {"predict", "get_compiled_model_path", "get_load_duration_in_nano_seconds", "get_compute_plan"}
    assert expected <= called
    assert unnamed(library, called) == []


@pytest.mark.slow
def test_the_macs_library_gives_the_compute_devices_by_these_names(installed, wheel):
    library = wheel.read("coremltools/libcoremlpython.so")
    device = installed.models.compute_device.MLComputeDevice
    assert {one.__name__ for one in device.__subclasses__()} == set(COMPUTE_DEVICES)
    for name in COMPUTE_DEVICES:
        assert b"_OBJC_CLASS_$_" + name.encode() + b"\0" in library


def test_without_a_package_index_the_checks_are_skipped_or_fail(tmp_path, monkeypatch):
    answer = subprocess.CompletedProcess((), 1, "", "ERROR: ... (from versions: none)\nERROR: No matching one")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: answer)
    monkeypatch.delenv("MVIT2_REQUIRE_MAC_WHEELS", raising=False)
    with pytest.raises(pytest.skip.Exception, match=r"coremltools==\d.* cannot be downloaded: ERROR: No matching"):
        mac_wheel("coremltools", tmp_path)
    monkeypatch.setenv("MVIT2_REQUIRE_MAC_WHEELS", "1")
    with pytest.raises(pytest.fail.Exception, match="cannot be downloaded"):
        mac_wheel("coremltools", tmp_path)
    answer.stderr = "ERROR: Could not find a version (from versions: 8.0, 8.1)"
    with pytest.raises(AssertionError, match=r"from versions: 8\.0"):
        mac_wheel("coremltools", tmp_path)
