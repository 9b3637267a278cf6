"""Commands that look at one file: `mvit2-search profile`, `verify` and `validate`."""

from dataclasses import asdict
from pathlib import Path

import click

from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli.options import DATA_HELP, Place, classes_option, json_option, option
from mvit2_search.cli.output import echo_json, finite, say


@click.command()
@click.argument("file", type=Place())
@classes_option
@json_option
def profile(file: str, classes: int, as_json: bool) -> None:
    """Count the parameters and operations of an architecture, per stage and in total.

    FILE is the YAML file of an architecture, or a published network. The built network is counted, for one image:
    macs are the multiply-adds of convolutions, linear layers and matrix products; other ops are the elements that
    all other operators compute.

    \b
    Example:
        mvit2-search profile mobilevitv2-0.75
    """
    from mvit2_search.api import load_arch
    from mvit2_search.models.profile import profile as count

    arch = load_arch(file)
    rows = count(arch, ClassifierHead(classes))
    if as_json:
        parts = [asdict(row) for row in rows]
        echo_json({"key": arch.key, "image_size": arch.image_size, "classes": classes, "parts": parts})
        return
    head = "1 class" if classes == 1 else f"{classes} classes"
    say(f"{Path(file).name}: architecture {arch.key}, {arch.image_size} pixels, {head}")
    say(f"{'part':<12}{'parameters':>14}{'macs':>18}{'other ops':>16}")
    say(*(f"{row.part:<12}{row.params:>14,}{row.macs:>18,}{row.other_ops:>16,}" for row in rows))


@click.command()
@click.argument("file", type=Place(Path))
@click.option(
    "--against",
    type=Place(),
    required=True,
    help="What the file should compute: the YAML file of an architecture, or a published network.",
)
@option("--data", "fashion-mnist-mini", DATA_HELP, type=Place())
@json_option
@click.pass_context
def verify(ctx: click.Context, file: Path, against: str, data: str, as_json: bool) -> None:
    """Check that an exported file computes the same as its network in PyTorch.

    FILE was written by `export`, with random weights. A Core ML package is executed operator by operator, any
    other file by its own runtime on this computer's CPU. This checks the program and its weights, not the
    arithmetic of a phone. It compares the outputs for 4 of 8 images, those whose class the network is most certain
    of. The exit code is 1 if a difference is over its limit.

    \b
    Example:
        mvit2-search verify network.mlpackage --against mobilevitv2-0.75
    """
    from mvit2_search.api import load_arch, verify_untrained

    agreement = verify_untrained(file, load_arch(against), data=data)
    if as_json:
        gates = [{key: finite(value) for key, value in asdict(gate).items()} for gate in agreement.gates]
        echo_json({"file": str(file), "passed": agreement.passed, "images": agreement.images, "gates": gates})
    else:
        judgement = "agrees" if agreement.passed else "does not agree"
        say(f"{file.name} {judgement} with {Path(against).name} on {agreement.images} images")
        say(*(f"  {line}" for line in agreement.lines()))
    if not agreement.passed:
        ctx.exit(1)


@click.command()
@click.argument("file", type=Place())
@json_option
def validate(file: str, as_json: bool) -> None:
    """Check a search space and list its settings.

    FILE is a YAML file, or the name of a shipped space. If it is wrong, the message names file, line and key (exit
    code 2).

    \b
    Example:
        mvit2-search validate my_space.yaml
    """
    from mvit2_search.space import Choices, find_space, load_space

    path, space = find_space(file), load_space(file)
    if as_json:
        echo_json({"file": str(path), "name": space.name, **space.to_json()})
        return
    say(f"{path}: space {space.name!r} is valid, {len(space.axes)} settings to search")
    if space.purpose:
        say(space.purpose)
    for axis in space.axes:
        domain = axis.domain
        if isinstance(domain, Choices):
            text = f"one of {', '.join(map(str, domain.values))}"
        else:
            text = f"{domain.low:g} to {domain.high:g}" + (f" in steps of {domain.step:g}" if domain.step else "")
        say(f"  {axis.name:<26} {text}")
