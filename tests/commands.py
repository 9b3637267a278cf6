"""`mvit2-search` as it is typed."""

from click.testing import CliRunner, Result

from mvit2_search.cli import cli


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])
