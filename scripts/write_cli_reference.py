"""Write docs/cli.md from what `--help` says.

python scripts/write_cli_reference.py
"""

from collections.abc import Iterator
from pathlib import Path

import click

from mvit2_search.cli import cli

HEAD = "# Command line\n\nWritten by `python scripts/write_cli_reference.py`; a test holds it to `--help`.\n"


def reference() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="mvit2-search", terminal_width=100, help_option_names=["-h", "--help"])
    return "\n".join([HEAD, *_sections("mvit2-search", cli, context)])


def _sections(title: str, command: click.Command, context: click.Context) -> Iterator[str]:
    """A command and, where it is a group, what is in it."""
    yield f"## {title}\n\n```text\n{command.get_help(context)}\n```\n"
    if not isinstance(command, click.Group):
        return
    for name in command.list_commands(context):
        inner = command.get_command(context, name)
        assert inner is not None
        path = name if context.parent is None else f"{title} {name}"
        yield from _sections(path, inner, click.Context(inner, context, name))


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "cli.md").write_text(reference(), encoding="utf-8")
