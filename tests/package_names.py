"""Whether a package has what is used of it: names, arguments of calls, and the members that Protocols declare."""

import ast
import dataclasses
import enum
import inspect
import zipfile
from collections.abc import Collection
from functools import partial
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

from package_uses import RESULT, Chain, Use


def resolve(package: Any, chain: Chain) -> Any:
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
            here = _attribute(here, name)
    return here


def _attribute(here: Any, name: str) -> Any:
    static = inspect.getattr_static(here, name) if inspect.isclass(here) else None
    return static if isinstance(static, property) else getattr(here, name)


def check_use(package: Any, use: Use, chain: Chain) -> None:
    """Fails unless `package` has `chain` and, where it is called, takes such arguments."""
    if _is_item(package, chain):
        return
    assert RESULT not in chain, f"{use}: state in RETURNS what it gives"
    assert chain[-1] != "*", f"{use}: state in MADE_AT_RUN_TIME what it may be"
    found = resolve(package, chain)
    if not use.called:
        return
    assert not {"*", "**"} & set(use.keywords), f"{use}: spell the arguments out"
    if not inspect.ismethoddescriptor(found) and not hasattr(found, "DESCRIPTOR"):  # of protocol buffers
        try:
            _signature(package, chain).bind(*range(use.positional), **dict.fromkeys(use.keywords))
        except TypeError as err:
            raise AssertionError(f"{use}: {err}") from err


def _signature(package: Any, chain: Chain) -> inspect.Signature:
    """Of a call, less the object whose method it is."""
    owner, found = resolve(package, chain[:-1]), resolve(package, chain)
    of_object = inspect.isclass(owner) and inspect.isfunction(inspect.getattr_static(owner, chain[-1]))
    return inspect.signature(partial(found, None) if of_object else found)


def _is_item(package: Any, chain: Chain) -> bool:
    """Whether the last of `chain` is an item of something that is no enumeration, as in `descriptions[name]`."""
    if chain[-1] != "*":
        return False
    of = resolve(package, chain[:-1])
    return not inspect.ismodule(of) and not (inspect.isclass(of) and issubclass(of, enum.Enum))


def protocols(module: ModuleType) -> list[type]:
    return [
        one
        for one in vars(module).values()
        if getattr(one, "_is_protocol", False) and one.__module__ == module.__name__
    ]


def members(protocol: type) -> list[str]:
    """What it declares, `__call__` included, and nothing that Python adds."""
    return [
        name
        for name, one in vars(protocol).items()
        if isinstance(one, property) or (inspect.isfunction(one) and one.__module__ == protocol.__module__)
    ]


def check_member(package: Any, path: Chain, protocol: type, member: str) -> None:
    """Fails unless what `protocol` allows of `member` is what the class at `path` takes."""
    declared, found = inspect.getattr_static(protocol, member), resolve(package, (*path, member))
    if isinstance(declared, property):
        assert isinstance(found, property | dataclasses.Field), member
        return
    assert callable(found), member
    assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(declared), member
    ours, theirs = (inspect.signature(one).parameters.values() for one in (declared, found))
    for mine, other in zip_longest(ours, theirs):
        assert other is not None, f"{member} takes no {mine}"
        optional = other.default is not other.empty or other.kind in (other.VAR_POSITIONAL, other.VAR_KEYWORD)
        if mine is not None:
            assert (mine.name, mine.kind) == (other.name, other.kind), member
        assert optional or (mine is not None and mine.default is mine.empty), f"{member} needs {other}"


def differing(wheel: zipfile.ZipFile, package: Path) -> list[str]:
    """Python sources and stubs that the wheel has and the installed folder `package` has not, or not the same."""
    names = [name for name in wheel.namelist() if name.startswith(f"{package.name}/")]
    sources = [name for name in names if name.endswith((".py", ".pyi"))]
    assert sources
    here = {name: package.parent / name for name in sources}
    return [name for name, path in here.items() if not path.is_file() or path.read_bytes() != wheel.read(name)]


def library_calls(source: bytes, cls: str, names: Collection[str], *, objects: Collection[str]) -> set[str]:
    """What methods `names` of `cls`, and those of its own that they call, use of a compiled library.

    Args:
        objects: how the source spells the library's objects and classes.
    """
    (node,) = (one for one in ast.parse(source).body if isinstance(one, ast.ClassDef) and one.name == cls)
    nodes = [one for method in _methods_used(node, set(names)) for one in ast.walk(method)]
    found = {one.attr for one in nodes if isinstance(one, ast.Attribute) and ast.unparse(one.value) in objects}
    return {name for name in found if name[:2] != "__"}


def _methods_used(node: ast.ClassDef, names: set[str]) -> list[ast.AST]:
    """The methods called `names` and those that they call on their own class."""
    methods = {one.name: one for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
    used: set[str] = set()
    more = names & methods.keys()
    while more:
        used |= more
        called = {one.attr for name in more for one in ast.walk(methods[name]) if isinstance(one, ast.Attribute)}
        more = (called & methods.keys()) - used
    return [methods[name] for name in used]


def unnamed(library: bytes, names: Collection[str]) -> list[str]:
    """Which of `names` a compiled library has no string of."""
    return [name for name in sorted(names) if b"\0" + name.encode() + b"\0" not in library]
