"""Write docs/cli.md from what `--help` says.

python scripts/write_cli_reference.py
"""

from pathlib import Path

import click

from mvit2_search.cli import cli

HEAD = "# Command line\n\nWritten by `python scripts/write_cli_reference.py`; a test holds it to `--help`.\n"


def reference() -> str:
    """The whole page."""
    context = click.Context(cli, info_name="mvit2-search", terminal_width=100, help_option_names=["-h", "--help"])
    parts = [HEAD, _section("mvit2-search", cli, context)]
    for name in cli.list_commands(context):
        command = cli.get_command(context, name)
        assert command is not None
        parts.append(_section(name, command, click.Context(command, context, name)))
    return "\n".join(parts)


def _section(name: str, command: click.Command, context: click.Context) -> str:
    return f"## {name}\n\n```text\n{command.get_help(context)}\n```\n"


if __name__ == "__main__":
    (Path(__file__).parent.parent / "docs" / "cli.md").write_text(reference(), encoding="utf-8")
