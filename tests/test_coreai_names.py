"""Each name, parameter and attribute of Core AI that is used, held to the installed packages and the Mac's.

What is used is read off the sources, and off `export.runtimes.coreai` for the objects that Core AI gives.
coreai-torch is Python code alone, in one wheel for all systems: what is installed is the Mac's.
"""

import __future__

import ast
import importlib
import warnings
from importlib.metadata import files
from pathlib import Path
from types import SimpleNamespace

import pytest

import mvit2_search
from conftest import need_device
from mac_wheels import mac_wheel
from mvit2_search.export.runtimes import coreai as coreai_types
from package_names import check_member, check_use, differing, library_calls, members, protocols, resolve, unnamed
from package_uses import uses_below

ROOT = Path(mvit2_search.__file__).parent
ASSET, CONVERTER = ("authoring", "AIModelAsset"), ("TorchConverter",)
METADATA, SUMMARY = ("runtime", "AIModelAssetMetadata"), ("runtime", "AIModelAssetSummary")
RETURNS = {  # the class of what a call gives, where its attributes are used
    (*ASSET, "load"): ASSET,
    (*ASSET, "summary"): SUMMARY,
    METADATA: METADATA,
    CONVERTER: CONVERTER,
}
USES = {package: uses_below(ROOT, package=package, returns=RETURNS) for package in ("coreai", "coreai_torch")}
LIBRARY = ("_AIModelAsset", "_AIModel", "_InferenceFunction", "_NDArray", "_SpecializationOptions")
OBJECTS = (*LIBRARY, *(f"self.{name}" for name in ("_model_asset", "_model", "_function", "_tensor")))


def path_of(protocol: type) -> tuple[str, ...]:
    authoring = protocol in (coreai_types.AIModelAsset, coreai_types.AIProgram)
    return ("authoring" if authoring else "runtime", protocol.__name__)


def used() -> dict[tuple[str, ...], set[str]]:
    """Of each class of `coreai` the members that are used."""
    found = {path_of(protocol): set(members(protocol)) for protocol in protocols(coreai_types)}
    for use in USES["coreai"]:
        found.setdefault(use.chain[:2], set()).update(use.chain[2:3])
    return found


def test_uses_are_found_in_all_that_names_core_ai():
    where = {use.where.partition(":")[0] for found in USES.values() for use in found}
    assert where == {"export/coreai.py", "export/runtimes/coreai.py", "measure/devices/coreai.py"}
    torch = {use.chain: use for use in USES["coreai_torch"] if use.called}
    assert {("get_decomp_table",), CONVERTER, (*CONVERTER, "to_coreai")} <= torch.keys()
    assert torch[*CONVERTER, "add_exported_program"].keywords == ("input_names", "output_names")
    assert (*CONVERTER, "Mode", "RELEASE") in {use.chain for use in USES["coreai_torch"]}
    assert {"summary", "load", "program", "executable"} == used()[ASSET]
    assert {"function_names", "function_inputs", "function_outputs"} == used()[SUMMARY]
    assert used()["runtime", "InferenceFunction"] == {"__call__"}
    assert used()[METADATA] == {"set_custom"}


@pytest.fixture(scope="module")
def coreai():
    """The installed package, with the modules that are used."""
    need_device("coreai", "coreai", "coreai_torch")
    package = importlib.import_module("coreai")
    for name in {path[0] for path in used()}:
        importlib.import_module(f"coreai.{name}")
    return package


@pytest.fixture(scope="module")
def coreai_torch(coreai):
    with warnings.catch_warnings(action="ignore"):  # of what it imports
        return importlib.import_module("coreai_torch")


@pytest.fixture(scope="module")
def stub(coreai):
    """The classes that the runtime's stub declares itself. They are compiled and have no signatures."""
    path = Path(coreai.__file__).parent / "runtime/__init__.pyi"
    classes = [one for one in ast.parse(path.read_bytes()).body if isinstance(one, ast.ClassDef)]
    public = ast.Module([one for one in classes if not one.name.startswith("_")], type_ignores=[])
    found = {}
    exec(compile(public, str(path), "exec", flags=__future__.annotations.compiler_flag), found)
    return {name: one for name, one in found.items() if isinstance(one, type)}


@pytest.fixture(scope="module")
def described(coreai, stub):
    """The package, with the stub's classes where there is nothing else to read signatures from."""
    return SimpleNamespace(authoring=coreai.authoring, runtime=SimpleNamespace(**vars(coreai.runtime) | stub))


@pytest.mark.slow
def test_the_installed_packages_have_each_name_and_take_the_arguments(coreai, coreai_torch, described):
    for use in USES["coreai"]:
        resolve(coreai, use.chain)
        check_use(described, use, use.chain)
    for use in USES["coreai_torch"]:
        check_use(coreai_torch, use, use.chain)


@pytest.mark.slow
@pytest.mark.parametrize("protocol", protocols(coreai_types), ids=lambda one: one.__name__)
def test_the_package_has_each_member_of_the_objects(coreai, described, protocol):
    assert members(protocol)
    for member in members(protocol):
        resolve(coreai, (*path_of(protocol), member))
        check_member(described, path_of(protocol), protocol, member)


@pytest.mark.slow
def test_the_converter_is_the_same_on_all_systems(coreai):
    assert [path.name for path in files("coreai-torch") if path.suffix in (".so", ".dylib", ".pyd")] == []
    (wheel,) = (path for path in files("coreai-torch") if path.match("*.dist-info/WHEEL"))
    assert "Tag: py3-none-any" in wheel.read_text().splitlines()


@pytest.fixture(scope="module")
def wheel(coreai, tmp_path_factory):
    with mac_wheel("coreai-core", tmp_path_factory.mktemp("wheel"), platform="macosx_26_0_arm64") as file:
        yield file


@pytest.mark.slow
def test_the_macs_package_has_the_same_python_code_and_stubs(coreai, wheel):
    """So that all that is found in the installed package holds for the Mac's."""
    assert {"coreai/authoring/asset.py", "coreai/runtime/__init__.pyi"} <= set(wheel.namelist())
    assert differing(wheel, Path(coreai.__file__).parent) == []


@pytest.mark.slow
def test_the_macs_library_has_what_those_members_call(coreai, stub, wheel):
    """The one part that is not installed here, of macOS 27 and later. One stub has a property that it lacks."""
    (name,) = (name for name in wheel.namelist() if name.startswith("coreai/runtime/_coreai_runtime_os."))
    called = set(LIBRARY)
    for path, names in used().items():
        if path[-1] in stub:
            called |= {path[-1], *names}
        else:
            source = wheel.read(resolve(coreai, path).__module__.replace(".", "/") + ".py")
            called |= library_calls(source, path[-1], names | {"__init__"}, objects=OBJECTS)
    assert {"function_names", "set_custom", "summary", "load_function", "to_dlpack", "_default"} <= called
    assert unnamed(wheel.read(name), called) == []
