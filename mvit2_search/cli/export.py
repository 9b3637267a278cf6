"""`mvit2-search export`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mvit2_search.cli.options import (
    Place,
    echo_json,
    explain,
    formulation_option,
    json_option,
    results_option,
    say,
    study_folder,
)
from mvit2_search.export.formats import FORMATS
from mvit2_search.records import INPUT_KINDS, PRECISIONS, TARGETS, CoreMLOptions

if TYPE_CHECKING:
    from mvit2_search.api import Pick
    from mvit2_search.arch import ArchConfig
    from mvit2_search.records import FormulationName, InputKind, Precision, Target


@click.command()
@click.argument("study", type=Place())
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial, instead of --pick.")
@click.option(
    "--pick",
    type=click.Choice(["best", "fastest"]),
    default="best",
    show_default=True,
    help="The most accurate confirmed under the budget, or the fastest whose accuracy cannot be told from it.",
)
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["yaml", *FORMATS]),
    default="yaml",
    show_default=True,
    help="The architecture, or its network with random weights: for ONNX Runtime, Core ML, Core AI, ExecuTorch.",
)
@formulation_option
@click.option(
    "--precision",
    type=click.Choice(PRECISIONS),
    default=CoreMLOptions().precision,
    show_default=True,
    help="Of an mlpackage.",
)
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    default=CoreMLOptions().target,
    show_default=True,
    help="The oldest system that is to run an mlpackage.",
)
@click.option(
    "--input",
    "input_kind",
    type=click.Choice(INPUT_KINDS),
    default=CoreMLOptions().input_kind,
    show_default=True,
    help="What an mlpackage takes: numbers from 0 to 1, or an image of 8 bits.",
)
@click.option(
    "--classes", type=click.IntRange(min=1), help="Outputs of the head; default: the study's, else 1000."
)
@results_option
@json_option
def export(
    study: str,
    trial: int | None,
    pick: Pick,
    file_format: str,
    formulation: FormulationName,
    precision: Precision,
    target: Target,
    input_kind: InputKind,
    classes: int | None,
    results: Path,
    as_json: bool,
) -> None:
    """Write the architecture of a trial as YAML, or as a network to time on a device.

    STUDY is a study's name or folder, a published network, or an architecture's YAML. Of a study, the most
    accurate that was confirmed under the budget is taken, be it a published width.
    The formulations of a network compute the same; which is the fastest on a phone is for you to time.

    \b
    Example:
        mvit2-search export first
        mvit2-search export first --pick fastest
        mvit2-search export first --format mlpackage --formulation layer_norm
        mvit2-search export mobilevitv2-1.0 --format mlpackage --target iOS18 --input image
    """
    from mvit2_search.api import export_network

    _check_options(file_format)
    if trial is not None and _is_given("pick"):
        raise click.UsageError("--trial and --pick both name an architecture; give one of them")
    chosen = _architecture(study, trial, results) or _trial(study, trial, pick, results)
    path = chosen.yaml
    if file_format != "yaml":
        options = CoreMLOptions(precision=precision, target=target, input_kind=input_kind)
        path = export_network(
            path.parent,
            chosen.arch,
            format=file_format,
            num_classes=classes or chosen.classes,
            usual_classes=chosen.classes,
            formulation=formulation,
            options=options if file_format == "mlpackage" else None,
        )
    if as_json:
        echo_json({"path": str(path), "trial": chosen.trial, "key": chosen.arch.key, "params": chosen.params})
        return
    say(str(path))


@dataclass(frozen=True, kw_only=True, slots=True)
class _Chosen:
    """What is to be exported, beside its YAML."""

    arch: ArchConfig
    yaml: Path
    classes: int
    params: int
    trial: int | None = None


def _trial(study: str, number: int | None, pick: Pick, results: Path) -> _Chosen:
    from mvit2_search.api import classes_of, export_architecture

    folder = study_folder(study, results)
    exported = export_architecture(folder, number, pick=pick)
    if exported.note:
        explain(f"note: {exported.note}", err=True)
    trial = exported.trial
    return _Chosen(
        arch=trial.arch,
        yaml=exported.path,
        classes=classes_of(folder),
        params=trial.params,
        trial=trial.number,
    )


def _architecture(name: str, number: int | None, results: Path) -> _Chosen | None:
    """A network that is named by itself, where no study has that name."""
    from mvit2_search.api import load_arch, write_architecture
    from mvit2_search.arch import published_networks
    from mvit2_search.arch.cost import network_cost
    from mvit2_search.store.folders import EXPORTS

    is_study = (study_folder(name, results) / "study.db").is_file()
    if is_study or not (name in published_networks() or Path(name).is_file()):
        return None
    for option, given in (("--trial", number is not None), ("--pick", _is_given("pick"))):
        if given:
            raise click.UsageError(f"{option} goes with a study")
    arch = load_arch(name)
    path = write_architecture(results / EXPORTS / arch.key, arch, [f"{Path(name).name}."])
    return _Chosen(arch=arch, yaml=path, classes=1000, params=network_cost(arch, 1000).params)


def _check_options(file_format: str) -> None:
    """An option that would change nothing is a mistake of whoever gave it."""
    for option, name in (("--formulation", "formulation"), ("--classes", "classes")):
        if file_format == "yaml" and _is_given(name):
            raise click.UsageError(f"{option} goes with --format onnx, mlpackage, aimodel or pte")
    for option, name in (("--precision", "precision"), ("--target", "target"), ("--input", "input_kind")):
        if file_format != "mlpackage" and _is_given(name):
            raise click.UsageError(f"{option} goes with --format mlpackage")


def _is_given(name: str) -> bool:
    """Whether whoever called gave this parameter."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT
