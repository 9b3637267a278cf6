"""Options and arguments that several commands have."""

import json
from pathlib import Path
from typing import Any

import click

results_option = click.option(
    "--results",
    type=click.Path(path_type=Path),
    default=Path("results"),
    show_default=True,
    help="Folder that holds the studies.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
study_argument = click.argument("study")


def study_folder(study: str, results: Path) -> Path:
    """The folder of a study that was given by name, or by its own path."""
    path = Path(study)
    return path if len(path.parts) > 1 or (path / "study.db").is_file() else results / study


def echo_json(data: Any) -> None:
    click.echo(json.dumps(data, indent=2))
