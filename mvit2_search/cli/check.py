"""`mvit2-search profile`, `validate` and `verify`: what can be told without timing or training.

Commands that look at one file.

The command that compares an exported file with its network.
"""

import math
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from mvit2_search.cli.options import Place, echo_json, json_option, say


@click.command()
@click.argument("file", type=Place())
@json_option
def validate(file: str, as_json: bool) -> None:
    """Check a search space and say what it holds.

    FILE is a YAML file or the name of a shipped space. Exit 2 names file, line and key of what is
    wrong.

    \b
    Example:
        mvit2-search validate my_space.yaml
    """
    from mvit2_search.space import Choices, find_space, load_space

    path, space = find_space(file), load_space(file)
    if as_json:
        echo_json({"file": str(path), "name": space.name, **space.to_json()})
        return
    say(f"{path}: space {space.name!r} is valid, {len(space.axes)} values to choose")
    if space.purpose:
        say(space.purpose)
    for axis in space.axes:
        domain = axis.domain
        if isinstance(domain, Choices):
            text = f"one of {', '.join(map(str, domain.values))}"
        else:
            text = f"{domain.low:g} to {domain.high:g}" + (f" in steps of {domain.step:g}" if domain.step else "")
        say(f"  {axis.name:<26} {text}")


@click.command()
@click.argument("file", type=Place())
@click.option(
    "--classes", type=click.IntRange(min=1), default=1000, show_default=True, help="Outputs of the head."
)
@json_option
def profile(file: str, classes: int, as_json: bool) -> None:
    """Parameters and multiply-adds of an architecture, per stage and in all.

    FILE is an architecture's YAML or a published network. Counted on the built network for one image;
    macs are those of convolutions, linear layers and matrix products, other ops the elements that all
    other operators compute.

    \b
    Example:
        mvit2-search profile mobilevitv2-0.75
    """
    from mvit2_search.api import load_arch
    from mvit2_search.models.profile import profile as count

    arch = load_arch(file)
    rows = count(arch, classes)
    if as_json:
        echo_json(
            {"key": arch.key, "image_size": arch.image_size, "classes": classes, "parts": list(map(asdict, rows))}
        )
        return
    name = Path(file).name
    head = "1 class" if classes == 1 else f"{classes} classes"
    say(f"{name}: architecture {arch.key}, {arch.image_size} pixels, {head}")
    say(f"{'part':<12}{'parameters':>14}{'macs':>18}{'other ops':>16}")
    for row in rows:
        say(f"{row.part:<12}{row.params:>14,}{row.macs:>18,}{row.other_ops:>16,}")


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
