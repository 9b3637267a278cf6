"""What a package lacks of what is used of it is seen."""

import zipfile
from types import ModuleType
from typing import Protocol

import pytest

from package_names import check_member, check_use, differing, library_calls, members, unnamed
from package_uses import uses


class Thing:
    def __init__(self, size, *, kind=None): ...

    @classmethod
    def load(cls, path): ...

    @staticmethod
    def ready(): ...

    @property
    def names(self): ...

    def save(self, path, metadata=None): ...

    async def run(self, inputs): ...

    def __call__(self, *inputs): ...


PACKAGE = ModuleType("package")
PACKAGE.Thing = Thing
RETURNS = {("Thing",): ("Thing",), ("Thing", "load"): ("Thing",)}


def check(line):
    found = uses(f"def f(package, x):\n    {line}", "a.py", package="package", returns=RETURNS)
    assert found
    for use in found:
        check_use(PACKAGE, use, use.chain)


@pytest.mark.parametrize(
    "line",
    [
        "package.Thing(1, kind=2).save(1)",
        "package.Thing(size=1).save(path=1, metadata=2)",
        "package.Thing.load(1).names",
        "package.Thing.ready()",
    ],
)
def test_what_is_there_is_accepted(line):
    check(line)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("package.Thyng", "has no 'Thyng'"),
        ("package.Thing.load(1).name", "has no 'name'"),
        ("package.Thing(1, 2)", "too many positional"),
        ("package.Thing()", "missing a required argument: 'size'"),
        ("package.Thing(1, kynd=2)", "unexpected keyword argument 'kynd'"),
        ("package.Thing.load(1, 2)", "too many positional"),
        ("package.Thing.load(1).save(1, 2, 3)", "too many positional"),
        ("package.Thing.ready(1)", "too many positional"),
        ("package.Thing.load(*x)", "spell the arguments out"),
        ("package.Thing.load(**x)", "spell the arguments out"),
        ("package.Thing.load(1).save(1).path", "RETURNS"),
        ("package[x]", "MADE_AT_RUN_TIME"),
    ],
)
def test_what_is_not_there_is_refused(line, why):
    with pytest.raises(AssertionError, match=why):
        check(line)


class Same(Protocol):
    @property
    def names(self): ...
    def save(self, path): ...
    async def run(self, inputs): ...
    def __call__(self): ...


class Other(Protocol):
    @property
    def save(self): ...
    def names(self): ...
    def run(self, inputs): ...
    def gone(self): ...
    def ready(self): ...


class Arguments(Protocol):
    def save(self, file): ...
    async def run(self): ...


class More(Protocol):
    def save(self, path, metadata=None, version=1): ...
    async def run(self, inputs=None): ...


class Named(Protocol):
    def save(self, *, path): ...


def test_members_are_what_a_protocol_declares():
    assert members(Same) == ["names", "save", "run", "__call__"]
    for member in members(Same):
        check_member(PACKAGE, ("Thing",), Same, member)


@pytest.mark.parametrize("protocol", [Other, Arguments, More, Named])
def test_members_that_are_not_as_declared_are_refused(protocol):
    for member in members(protocol):
        with pytest.raises(AssertionError):
            check_member(PACKAGE, ("Thing",), protocol, member)


def test_sources_that_differ_from_a_wheel_are_named(tmp_path):
    here = tmp_path / "thing"
    here.mkdir()
    with zipfile.ZipFile(tmp_path / "thing.whl", "w") as wheel:
        for name in ("same.py", "other.pyi", "gone.py", "library.so"):
            wheel.writestr(f"thing/{name}", "1")
            (here / name).write_text("1")
        (here / "other.pyi").write_text("2")
        (here / "gone.py").unlink()
        (here / "library.so").write_text("2")
        assert differing(wheel, here) == ["thing/other.pyi", "thing/gone.py"]


def test_calls_of_a_library_are_found_through_methods():
    source = b"""
class Thing:
    def save(self): self._written()
    async def run(self): await self._library.run()
    def _written(self): self._library.write(self.path); _Library.make()
    def unused(self): self._library.unused()
"""
    found = library_calls(source, "Thing", {"save", "run"}, objects=("self._library", "_Library"))
    assert found == {"write", "make", "run"}
    assert unnamed(b"\0write\0make_all\0run\0", found) == ["make"]
