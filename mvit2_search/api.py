"""What a notebook uses: read a study, bring its files up to date, export from it, verify, measure."""

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.yaml import arch_yaml, read_arch
from mvit2_search.errors import BackendUnavailable, SpecError, StorageError
from mvit2_search.records import CoreMLOptions, Finished, FormulationName, Latency, Passport, Trial
from mvit2_search.records.codec import to_json
from mvit2_search.report.progress import State
from mvit2_search.report.sentences import provisional_sentence
from mvit2_search.report.tables import Summary, control_frame, summarise, trials_frame
from mvit2_search.store import StoredStudy, find_holder, find_study, open_study, read_activity
from mvit2_search.system.files import locked_folder, scratch_folder, write_atomically

if TYPE_CHECKING:
    from mvit2_search.export.verify import Agreement

Pick = Literal["best", "fastest"]


def read_study(folder: Path) -> Summary:
    """The study in `folder`, also while it runs.

    Raises:
        SpecError: there is none, or it has only just begun.
        StorageError: it cannot be read.
    """
    return _summary(open_study(folder))


def read_state(folder: Path) -> State:
    """The study in `folder`, what runs it and what that does, from the first moment on.

    Raises:
        SpecError: there is none.
        StorageError: it cannot be read.
    """
    study = find_study(folder)
    holder = find_holder(folder)
    return State(
        name=folder.name,
        summary=summarise(study) if study and study.has_budget else None,
        holder=holder,
        activity=read_activity(folder, holder),
        goals=study.fact("goals") if study else None,
    )


def refresh(study: StoredStudy) -> Summary:
    """Bring `study.yaml`, `pareto.csv`, `report.html` and, if there are any, `control.csv` up to date."""
    from mvit2_search.report.html import report_html  # imports what draws

    summary = _summary(study)
    write_atomically(study.folder / "study.yaml", _study_yaml(study))
    write_atomically(study.folder / "pareto.csv", trials_frame(summary).to_csv(index=False))
    if summary.controls:
        write_atomically(study.folder / "control.csv", control_frame(summary).to_csv(index=False))
    write_atomically(study.folder / "report.html", report_html(summary))
    return summary


def load_arch(name_or_path: str) -> ArchConfig:
    """A published network such as `mobilevitv2-0.75`, or an architecture's YAML file.

    Raises:
        SpecError: neither, or the file describes no network.
    """
    path = Path(name_or_path)
    return read_arch(path) if path.suffix in (".yaml", ".yml") or path.is_file() else published(name_or_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """A file that a user takes away; `note` says what may still change."""

    path: Path
    trial: Trial
    note: str | None


def export_architecture(folder: Path, number: int | None = None, *, pick: Pick = "best") -> Exported:
    """Write the YAML of a trial's architecture to `exports/<key>/architecture.yaml` in the study.

    Args:
        number: of the trial; by default what `pick` says.
        pick: the best confirmed under the budget, or the fastest whose accuracy cannot be told from that one's.

    Raises:
        SpecError: there is no such trial, or nothing is confirmed yet.
    """
    summary = read_study(folder)
    trial = _picked(summary, pick) if number is None else _numbered(summary, number)
    path = write_architecture(folder / "exports" / trial.arch.key, trial.arch, _origin(summary, trial))
    return Exported(path=path, trial=trial, note=provisional_sentence(summary) if number is None else None)


def write_architecture(folder: Path, arch: ArchConfig, comments: list[str]) -> Path:
    """Write `architecture.yaml` to a folder of exports, with `comments` at its top.

    Raises:
        StorageError: it cannot be written.
    """
    path = folder / "architecture.yaml"
    with locked_folder(folder):
        write_atomically(path, arch_yaml(arch, comments))
    return path


def export_network(
    folder: Path,
    arch: ArchConfig,
    *,
    format: str,
    num_classes: int,
    usual_classes: int,
    formulation: FormulationName,
    options: CoreMLOptions | None = None,
) -> Path:
    """Write a network with random weights to `folder`, to be timed, and see that the file computes it.

    Args:
        format: a key of `export.FORMATS`.
        num_classes: outputs of the head; other than `usual_classes` stand in the file's name.
        options: of a Core ML package; other than the usual ones stand in the file's name.

    Raises:
        MeasurementError: the exporter refuses the network, or the file computes something else.
        BackendUnavailable: what writes the format is missing.
        StorageError: the file cannot be written.
    """
    from mvit2_search.export.formats import export_model
    from mvit2_search.export.verify import Written, verify_network
    from mvit2_search.task.data.fashion_mnist import FASHION_MNIST_MINI  # these import torch
    from mvit2_search.task.data.load import load_images

    classes = [] if num_classes == usual_classes else [f"{num_classes}-classes"]
    name = "-".join(["untrained", formulation, *_unusual(options or CoreMLOptions()), *classes])
    target = folder / f"{name}.{format}"
    export = partial(
        export_model, format=format, num_classes=num_classes, formulation=formulation, options=options
    )
    try:
        with scratch_folder(folder) as scratch:
            made = export(arch, scratch)
            images = load_images(FASHION_MNIST_MINI, image_size=arch.image_size, count=4)
            Written(artifact=made, verify=lambda: verify_network(made, arch, images)).check()
            shutil.rmtree(target, ignore_errors=True)  # a package is a folder
            made.path.replace(target)
    except OSError as err:
        raise StorageError(f"{target}: cannot be written: {err}") from err
    return target


def classes_of(folder: Path) -> int:
    """How many classes the data of the study in `folder` have."""
    return len(open_study(folder).inputs.data.classes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Available:
    """A device by name; `about` says what it is, or what it needs."""

    name: str
    ready: bool
    about: str


def list_devices() -> list[Available]:
    """Every device that `--device` may name."""
    from mvit2_search.measure.source import source_names  # imports torch

    return [_available(name) for name in source_names()]


def _available(name: str) -> Available:
    from mvit2_search.measure.source import find_source, passport_of

    try:
        passport = passport_of(find_source(name))
    except BackendUnavailable as err:
        return Available(name=name, ready=False, about=str(err))
    if passport.kind == "predicted":
        return Available(name=name, ready=True, about=f"{passport.device}, predicted: {passport.runtime}")
    about = f"{passport.device}, {passport.chip}, {passport.runtime}, {passport.precision}"
    return Available(name=name, ready=True, about=about)


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """The latency of one architecture; `samples` is the file with every pass of a measurement."""

    name: str
    key: str
    num_classes: int
    latency: Latency
    passport: Passport
    samples: Path | None


def measure_architecture(
    name_or_path: str,
    device: str,
    *,
    results: Path,
    num_classes: int,
    formulation: FormulationName,
    again: bool = False,
    predict: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Measured:
    """Time an architecture, read what was measured of it in `results` before, or predict it by an estimate.

    Args:
        again: time it all the same.
        predict: from what is kept of other architectures on the device, instead of timing it.
        tell: told whom it waits for, where somebody else times networks on this computer.

    Raises:
        SpecError: there is no such architecture or device, or too little is kept to predict from.
        BackendUnavailable: the device cannot be used from here, or went away.
        MeasurementError: the network cannot be exported or timed.
        StorageError: `results` cannot be read or written.
    """
    from mvit2_search.measure.source import (
        find_source,
        open_timer,
        passport_of,
        predict_latency,
        predicted_passport,
    )
    from mvit2_search.predict.estimate import Estimate

    arch, source = load_arch(name_or_path), find_source(device)
    about = partial(Measured, name=Path(name_or_path).name, key=arch.key, num_classes=num_classes)
    if isinstance(source, Estimate):
        return about(latency=source.predict(arch), passport=passport_of(source), samples=None)
    if predict:
        latency = predict_latency(source, arch, results=results, num_classes=num_classes, formulation=formulation)
        return about(latency=latency, passport=predicted_passport(passport_of(source), latency), samples=None)
    with open_timer(source, results=results, num_classes=num_classes, formulation=formulation, tell=tell) as timer:
        measured = timer.measure(arch, again=again)
        samples = timer.meter.path(measured.artifact_sha256)
        return about(latency=measured, passport=timer.meter.passport, samples=samples)


def verify_untrained(path: Path, arch: ArchConfig, *, data: str) -> "Agreement":
    """Compare an exported file with the untrained network of `arch`, which `export_network` writes.

    Compared are the 4 of the first 8 selection images on which the network is surest of its class.

    Args:
        data: `fashion-mnist-mini` or a folder of images.

    Raises:
        SpecError: there is no such file, or it takes or gives something else than `arch` does.
        MeasurementError: it is damaged.
        DataError: the images cannot be used.
        BackendUnavailable: what reads or runs the file is missing.
    """
    from mvit2_search.export.verify import open_artifact, verify_network
    from mvit2_search.task.data.load import load_images

    artifact = open_artifact(path)
    return verify_network(artifact, arch, load_images(data, image_size=arch.image_size, count=8))


def _unusual(options: CoreMLOptions) -> list[str]:
    """The values that differ from what is written by default."""
    usual = asdict(CoreMLOptions())
    return [str(value) for name, value in asdict(options).items() if value != usual[name]]


def _summary(study: StoredStudy) -> Summary:
    if not study.has_budget:
        raise SpecError(f"{study.folder}: this study has only just begun; there is nothing to read yet")
    return summarise(study)


def _study_yaml(study: StoredStudy) -> str:
    names = ("request", "inputs", "devices", "versions")
    facts = {"study": study.name, "latencies_are": study.device.passport.kind}
    facts |= {name: json.loads(json.dumps(to_json(study.fact(name)))) for name in names}
    head = "# Every resolved input of this study. Derived from study.db: editing it changes nothing.\n"
    return head + yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def _picked(summary: Summary, pick: Pick) -> Trial:
    if summary.verdict is None:
        raise SpecError(
            f"study {summary.name!r}: no architecture under the budget is confirmed; name one with --trial, "
            "or go on with the command that started the study"
        )
    return (summary.verdict.best if pick == "best" else summary.verdict.fastest).trial


def _numbered(summary: Summary, number: int) -> Trial:
    for trial in summary.trials:
        if trial.number == number:
            return trial
    last = max((trial.number for trial in summary.trials if trial.number is not None), default=None)
    raise SpecError(
        f"study {summary.name!r} has no trial {number}" + ("" if last is None else f"; the last is {last}")
    )


def _origin(summary: Summary, trial: Trial) -> list[str]:
    """Where an exported architecture comes from and what it costs, for the head of its file."""
    classes = len(summary.inputs.data.classes)
    found = trial.published or "found by the search"
    lines = [f"Trial {trial.number} of study {summary.name}: {found}."]
    if trial.number is None:
        lines = [f"{found}, a published width outside of the space of study {summary.name}."]
    if trial.latency is not None:
        lines.append(f"{trial.latency.latency_ms:.2f} ms {summary.passport.kind}: {summary.passport.device}.")
    if isinstance(trial.outcome, Finished):
        lines.append(f"{trial.outcome.score:.2f} % top-1 on the selection images after a short training.")
    imagenet = network_cost(trial.arch, 1000)
    lines.append(f"{trial.params:,} parameters with {classes} classes, {imagenet.params:,} with 1000.")
    lines.append("from mvit2_search.api import load_arch; from mvit2_search.models import build_model")
    return lines
