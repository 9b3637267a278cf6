"""Each name, parameter and attribute of coremltools that is used, held to the installed package and the Mac's.

What is used is read off the sources, so that a new use cannot be forgotten here. What the worker uses of the
objects that coremltools gives is read off `latency.coreml_types`, to which mypy holds it.
"""

import ast
import dataclasses
import enum
import inspect
import subprocess
from pathlib import Path
from typing import Any

import pytest

import mvit2_search
from mac_wheels import mac_wheel
from mvit2_search.latency import coreml, coreml_types
from mvit2_search.latency.placement import COMPUTE_DEVICES
from package_uses import RESULT, uses

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
    ("target",): ["iOS16", "iOS17", "iOS18", "iOS26"],
    ("precision",): ["FLOAT16", "FLOAT32"],
    ("colorlayout",): ["RGB", "BGR"],
}
FILES = [path for path in sorted(ROOT.rglob("*.py")) if "coremltools" in path.read_text(encoding="utf-8")]
USES = [
    use
    for path in FILES
    for use in uses(
        path.read_text(encoding="utf-8"), str(path.relative_to(ROOT)), package="coremltools", returns=RETURNS
    )
]
PROTOCOLS = [
    one
    for one in vars(coreml_types).values()
    if getattr(one, "_is_protocol", False) and one.__module__ == coreml_types.__name__
]


def chains():
    """Each use once for each name that may be meant."""
    for use in USES:
        if use.chain[-1] == "*" and use.chain[:-1] in MADE_AT_RUN_TIME:
            yield from ((use, (*use.chain[:-1], name)) for name in MADE_AT_RUN_TIME[use.chain[:-1]])
        else:
            yield use, use.chain


def test_uses_are_found_in_all_that_names_coremltools():
    found = {use.where.partition(":")[0] for use in USES}
    assert {"export/coreml.py", "latency/coreml_calls.py"} <= found
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
"""
    found = uses(source, "a.py", package="coremltools", returns=RETURNS)
    assert [(use.chain, use.keywords) for use in found if use.called] == [
        (MODEL, ("compute_units",)),
        ((*MODEL, "predict"), ()),
        (SPEC, ()),
        ((*SPEC, "description", "metadata", "Clear"), ()),
        (("other",), ()),
        (("utils", "load_spec"), ()),
    ]
    names = {use.chain for use in found}
    assert {("ComputeUnit", "*"), ("target", "*"), ("other", RESULT, "thing")} <= names
    assert not any("not_of_it" in chain or "no" in chain for chain in names)


@pytest.fixture(scope="module")
def installed():
    from mvit2_search.export import coreml as exporter

    importer = getattr(exporter, "import_coremltools", None) or exporter._coremltools
    return importer()


def resolve(package: Any, chain: tuple[str, ...]) -> Any:
    """What `chain` leads to in an imported package; fields of protocol buffers by their descriptors."""
    here = package
    for name in chain:
        fields = getattr(getattr(here, "DESCRIPTOR", None), "fields_by_name", {})
        if name in fields:
            here = fields[name].message_type._concrete_class if fields[name].message_type else fields[name]
        elif name == "*" and hasattr(here, "DESCRIPTOR"):
            pass  # an item of a repeated field, whose class `here` is
        elif name in getattr(here, "__dataclass_fields__", {}):
            here = here.__dataclass_fields__[name]
        else:
            assert hasattr(here, name), f"{here} has no {name!r}"
            here = (
                inspect.getattr_static(here, name)
                if inspect.isclass(here) and name != "*"
                else getattr(here, name)
            )
        if isinstance(here, classmethod | staticmethod):
            here = here.__func__
    return here


def is_item(package: Any, chain: tuple[str, ...]) -> bool:
    """Whether the last of `chain` is an item of something that is no enumeration, as in `descriptions[name]`."""
    if chain[-1] != "*":
        return False
    of = resolve(package, chain[:-1])
    return not inspect.ismodule(of) and not (inspect.isclass(of) and issubclass(of, enum.Enum))


@pytest.mark.slow
def test_the_installed_package_has_each_name_and_parameter(installed):
    for use, chain in chains():
        if is_item(installed, chain):
            continue
        assert RESULT not in chain, f"{use}: state in RETURNS what it gives"
        assert chain[-1] != "*", f"{use}: state in MADE_AT_RUN_TIME what it may be"
        found = resolve(installed, chain)
        if use.called and use.keywords:
            assert "**" not in use.keywords, f"{use}: spell the arguments out"
            if not inspect.ismethoddescriptor(found):  # of protocol buffers, which have no signatures
                assert set(use.keywords) <= inspect.signature(found).parameters.keys(), use
    for name in MADE_AT_RUN_TIME:
        assert issubclass(resolve(installed, name), enum.Enum)


def path_of(protocol: type) -> tuple[str, ...]:
    module = "model" if protocol is coreml_types.MLModel else "compute_plan"
    return ("models", module, protocol.__name__)


def members(protocol: type) -> list[str]:
    return [name for name in vars(protocol) if not name.startswith("_")]


@pytest.mark.slow
@pytest.mark.parametrize("protocol", PROTOCOLS, ids=lambda one: one.__name__)
def test_the_package_has_each_member_of_the_objects(installed, protocol):
    for member in members(protocol):
        declared = inspect.getattr_static(protocol, member)
        found = resolve(installed, (*path_of(protocol), member))
        if isinstance(declared, property):
            assert isinstance(found, property | dataclasses.Field), member
        else:
            expected = list(inspect.signature(declared).parameters)
            assert list(inspect.signature(found).parameters)[: len(expected)] == expected


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    with mac_wheel("coremltools", tmp_path_factory.mktemp("wheel")) as file:
        yield file


@pytest.mark.slow
def test_the_macs_package_has_the_same_python_code(installed, wheel):
    """So that all that is found in the installed package holds for the Mac's."""
    root = Path(installed.__file__).parent.parent
    names = [name for name in wheel.namelist() if name.startswith("coremltools/") and name.endswith(".py")]
    assert len(names) > 300
    assert [name for name in names if wheel.read(name) != (root / name).read_bytes()] == []


@pytest.mark.slow
def test_the_macs_library_has_what_those_members_call(wheel):
    """The one part that is not installed here. The device looks for it beside `coremltools/__init__.py`."""
    library = wheel.read("coremltools/libcoremlpython.so")
    called = set()
    for protocol in (coreml_types.MLModel, coreml_types.MLComputePlan):
        source = ast.parse(wheel.read("/".join(("coremltools", *path_of(protocol)[:-1])) + ".py"))
        (node,) = (one for one in source.body if isinstance(one, ast.ClassDef) and one.name == protocol.__name__)
        names = {*members(protocol), "__init__", "load_from_path"}
        called |= {name for method in methods_used(node, names) for name in framework_calls(method)}
    expected = {"predict", "get_compiled_model_path", "get_load_duration_in_nano_seconds", "get_compute_plan"}
    assert expected <= called
    assert [name for name in sorted(called) if b"\0" + name.encode() + b"\0" not in library] == []


def methods_used(node: ast.ClassDef, names: set[str]) -> list[ast.FunctionDef]:
    """The methods called `names` and those that they call on their own class."""
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef)}
    used: set[str] = set()
    more = names & methods.keys()
    while more:
        used |= more
        called = {one.attr for name in more for one in ast.walk(methods[name]) if isinstance(one, ast.Attribute)}
        more = (called & methods.keys()) - used
    return [methods[name] for name in used]


def framework_calls(method: ast.FunctionDef) -> set[str]:
    """Attributes of the library's objects, which coremltools calls proxies."""
    nodes = [node for node in ast.walk(method) if isinstance(node, ast.Attribute) and node.attr[:2] != "__"]
    return {node.attr for node in nodes if ast.unparse(node.value) in ("proxy", "self.__proxy__", "_MLModelProxy")}


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
