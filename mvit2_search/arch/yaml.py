"""Architectures as YAML files."""

from dataclasses import MISSING, fields
from pathlib import Path

import yaml

from mvit2_search.arch.config import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.system.text import printable
from mvit2_search.system.yaml import load


def read_arch(path: Path) -> ArchConfig:
    """The architecture in a file that `arch_yaml` wrote, or one like it.

    Raises:
        SpecError: the file, with line and key where there is one, and what is wrong.
    """
    document = load(path)
    known = [f.name for f in fields(ArchConfig)]
    needed = [f.name for f in fields(ArchConfig) if f.default is MISSING]
    document.check_keys((), document.data, known=known, needed=needed)
    try:
        return ArchConfig.from_json(document.data)
    except SpecError as err:
        raise SpecError(f"{path}: {err}") from err


def arch_yaml(arch: ArchConfig, comments: list[str]) -> str:
    """The text of a file, each comment on a line of its own at the top."""
    head = "".join(f"# {printable(line)}\n" for line in comments)
    return head + yaml.safe_dump(arch.to_json(), sort_keys=False, default_flow_style=None)
