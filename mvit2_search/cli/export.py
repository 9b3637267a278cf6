"""`mvit2-search export`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.core import ParameterSource

from mvit2_search.arch.head import ClassifierHead
from mvit2_search.cli.options import Place, formulation_option, json_option, option, results_option, study_folder
from mvit2_search.cli.output import echo_json, explain, say
from mvit2_search.export.formats import FORMATS
from mvit2_search.records import INPUT_KINDS, PRECISIONS, TARGETS, CoreMLOptions

if TYPE_CHECKING:
    from mvit2_search.api import Exported, Pick
    from mvit2_search.records import FormulationName, InputKind, Precision, Target

_CORE_ML = CoreMLOptions()


@click.command()
@click.argument("study", type=Place())
@click.option("--trial", type=click.IntRange(min=0), help="Number of the trial to export, instead of --pick.")
@option(
    "--pick",
    "best",
    "best: the most accurate confirmed network within the budget. fastest: the fastest one that is statistically "
    "tied with it.",
    type=click.Choice(["best", "fastest"]),
)
@option(
    "--format",
    "yaml",
    "yaml: the architecture. Others: the network with random weights, for ONNX Runtime (onnx), Core ML "
    "(mlpackage), Core AI (aimodel) or ExecuTorch (pte).",
    type=click.Choice(["yaml", *FORMATS]),
)
@formulation_option
@option("--precision", _CORE_ML.precision, "Precision of an mlpackage.", type=click.Choice(PRECISIONS))
@option("--target", _CORE_ML.target, "Oldest system that an mlpackage runs on.", type=click.Choice(TARGETS))
@option(
    "--input",
    _CORE_ML.input_kind,
    "Input of an mlpackage: a tensor of numbers from 0 to 1, or an 8-bit image.",
    type=click.Choice(INPUT_KINDS),
)
@click.option(
    "--classes",
    type=click.IntRange(min=1),
    show_default="those of the study, else 1000",
    help="Number of classes.",
)
@results_option
@json_option
def export(
    study: str,
    trial: int | None,
    pick: Pick,
    format: str,
    formulation: FormulationName,
    precision: Precision,
    target: Target,
    input: InputKind,
    classes: int | None,
    results: Path,
    as_json: bool,
) -> None:
    """Write an architecture as YAML, or its untrained network to time elsewhere.

    STUDY is the name or folder of a study, a published network, or the YAML file of an architecture. Of a study,
    the most accurate confirmed network within the budget is exported, which may be a published width. All
    formulations of a network give the same outputs; which one is fastest depends on the device.

    \b
    Example:
        mvit2-search export first
        mvit2-search export first --pick fastest
        mvit2-search export first --format mlpackage --formulation layer_norm
        mvit2-search export mobilevitv2-1.0 --format mlpackage --target iOS18 --input image
    """
    from mvit2_search.api import export_network
    from mvit2_search.arch.cost import network_cost

    _check_options(format)
    exported = _export(study, trial, pick, results)
    if exported.note:
        explain(f"note: {exported.note}", err=True)
    path, options = exported.path, None
    if format == "mlpackage":
        options = CoreMLOptions(precision=precision, target=target, input_kind=input)
    if format != "yaml":
        path = export_network(exported, format=format, classes=classes, formulation=formulation, options=options)
    if as_json:
        number = exported.trial and exported.trial.number
        params = network_cost(exported.arch, ClassifierHead(exported.classes)).params
        echo_json({"path": str(path), "trial": number, "key": exported.arch.key, "params": params})
        return
    say(str(path))


def _export(study: str, trial: int | None, pick: Pick, results: Path) -> Exported:
    """Of a study, or of a network that is named by itself if no study has that name."""
    from mvit2_search.api import export_architecture, export_named
    from mvit2_search.arch import published_networks

    folder = study_folder(study, results)
    is_network = study in published_networks() or Path(study).is_file()
    if is_network and not (folder / "study.db").is_file():
        for name in ("trial", "pick"):
            if _is_given(name):
                raise click.UsageError(f"--{name} needs a study")
        return export_named(study, results)
    return export_architecture(folder, trial, pick=pick)


def _check_options(format: str) -> None:
    """Refuse options that would change nothing."""
    if _is_given("trial") and _is_given("pick"):
        raise click.UsageError("--trial and --pick both name an architecture; give one of them")
    for name in ("formulation", "classes", "precision", "target", "input"):
        formats = list(FORMATS) if name in ("formulation", "classes") else ["mlpackage"]
        if format not in formats and _is_given(name):
            raise click.UsageError(f"--{name} needs --format {', '.join(formats)}")


def _is_given(name: str) -> bool:
    """Whether the user gave this parameter."""
    return click.get_current_context().get_parameter_source(name) is not ParameterSource.DEFAULT
