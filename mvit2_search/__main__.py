"""`python -m mvit2_search`."""

from mvit2_search.cli import cli

cli(prog_name="mvit2-search")
