"""The command that compares an exported file with its network."""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mvit2_search.cli.options import Place, echo_json, json_option
from mvit2_search.cli.terminal import say


@click.command()
@click.argument("file", type=Place(Path))
@click.option("--against", type=Place(), required=True, help="The architecture: its YAML, or a published network.")
@click.option(
    "--data",
    type=Place(),
    default="fashion-mnist-mini",
    show_default=True,
    help="fashion-mnist-mini, or a folder with one sub-folder of images per class.",
)
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, against: str, data: str, as_json: bool) -> None:
    """Run an exported file here and compare it with the network that it should be.

    FILE was written by `export`, with random weights. A Core ML package is executed operator by operator,
    any other file by its runtime on this computer's CPU; that proves the program and its weights, not the
    arithmetic of a phone. Compared are the 4 of 8 images on which the network is surest of its class.
    Exit 1 where a figure is over its gate.

    \b
    Example:
        mvit2-search verify network.mlpackage --against mobilevitv2-0.75
    """
    from mvit2_search.api import load_arch, verify_untrained

    agreement = verify_untrained(file, load_arch(against), data=data)
    if as_json:
        gates = [{key: _json(value) for key, value in asdict(gate).items()} for gate in agreement.gates]
        echo_json({"file": str(file), "passed": agreement.passed, "images": agreement.images, "gates": gates})
    else:
        judgement = "agrees" if agreement.passed else "does not agree"
        say(f"{file.name} {judgement} with {Path(against).name} on {agreement.images} images")
        for line in agreement.lines():
            say(f"  {line}")
    if not agreement.passed:
        ctx.exit(1)


def _json(value: Any) -> Any:
    """What is not a number is null."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
