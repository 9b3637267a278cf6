"""Commands that look at one file."""

from dataclasses import asdict
from pathlib import Path

import click

from mvit2_search.cli.options import Place, echo_json, json_option
from mvit2_search.cli.terminal import say


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
