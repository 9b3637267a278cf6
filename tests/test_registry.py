"""Tables of names: nothing is imported until it is used, and whatever they name exists."""

import subprocess
import sys

import pytest

from mvit2_search.cli import COMMANDS
from mvit2_search.errors import SpecError
from mvit2_search.export.formats import FORMATS
from mvit2_search.measure.devices.registry import DEVICES
from mvit2_search.stopping import STOPPING_RULES
from mvit2_search.system.registry import Entry, Registry

TABLES = {"commands": COMMANDS, "devices": DEVICES, "formats": FORMATS, "rules": STOPPING_RULES}


def test_an_unknown_name_is_refused_with_those_that_exist():
    table = Registry("--colour", {"red": Entry("a:b"), "blue": Entry("a:c")})
    with pytest.raises(SpecError, match=r"^--colour 'green': expected one of red, blue$"):
        table.entry("green")


@pytest.mark.parametrize(("table", "name"), [(table, name) for table, names in TABLES.items() for name in names])
def test_every_name_leads_to_something(table, name):
    assert TABLES[table].entry(name).load()


def test_the_tables_are_read_without_what_they_name():
    tables = "cli, mvit2_search.export.formats, mvit2_search.stopping"
    heavy = "{'torch', 'onnx', 'coremltools'} & sys.modules.keys()"
    code = f"import sys, mvit2_search.{tables}; sys.exit(str({heavy}) if {heavy} else 0)"
    subprocess.run([sys.executable, "-c", code], check=True)
