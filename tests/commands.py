"""`mvit2-search` as it is typed."""

from click.testing import CliRunner, Result

from mvit2_search.cli import cli

QUICK = ["--epochs", "1", "--images-per-epoch", "8", "--batch-size", "4", "--image-size", "32", "--trials", "1"]


def invoke(*words: object) -> Result:
    return CliRunner().invoke(cli, [str(word) for word in words])


def run_arguments(tmp_path, **changes):
    options = {
        "space": "blocks",
        "data": tmp_path / "images",
        "latency-budget": "mobilevitv2-0.75",
        "study": "one",
        "results": tmp_path / "results",
        **changes,
    }
    return ["run", *[text for name, value in options.items() for text in (f"--{name}", value)], *QUICK]
