"""The command line: every command parses, calls one function and prints."""

from mvit2_search.cli.group import cli

__all__ = ["cli"]
