"""What a notebook uses: read a study, write its files again, export from it, measure, verify."""

import json
import shutil
from collections.abc import Callable
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import yaml

from mvit2_search.arch import ArchConfig, published
from mvit2_search.arch.config import arch_yaml, read_arch
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead
from mvit2_search.errors import BackendUnavailable, SpecError, StorageError
from mvit2_search.records import (
    DEFAULT_FORMULATION,
    CoreMLOptions,
    Finished,
    FormulationName,
    FullTraining,
    Latency,
    Passport,
    Trial,
)
from mvit2_search.records.codec import to_json
from mvit2_search.report.progress import State
from mvit2_search.report.sentences import provisional_sentence
from mvit2_search.report.tables import Summary, control_frame, summarise, trials_frame
from mvit2_search.store import (
    StoredStudy,
    create_study,
    driver_lock,
    find_holder,
    find_study,
    open_study,
    read_activity,
)
from mvit2_search.store.folders import EXPORTS
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
    """The study in `folder`, the process that runs it and what that does, even if it has only just begun.

    Raises:
        SpecError: there is none.
        StorageError: it cannot be read.
    """
    study, holder = find_study(folder), find_holder(folder)
    return State(
        name=folder.name,
        summary=summarise(study) if study and study.has_budget else None,
        holder=holder,
        activity=read_activity(folder, holder),
        goals=study.fact("goals") if study else None,
    )


def refresh(study: StoredStudy) -> Summary:
    """Write `study.yaml`, `pareto.csv`, `report.html` and, with random networks, `control.csv` again."""
    from mvit2_search.report.html import report_html  # imports what draws

    summary = _summary(study)
    write_atomically(study.folder / "study.yaml", _study_yaml(study))
    write_atomically(study.folder / "pareto.csv", trials_frame(summary).to_csv(index=False))
    if summary.controls:
        write_atomically(study.folder / "control.csv", control_frame(summary).to_csv(index=False))
    write_atomically(study.folder / "report.html", report_html(summary))
    return summary


def keep_training(folder: Path, training: FullTraining) -> None:
    """Add the result of a full training to the study in `folder`, and write its files again.

    Raises:
        StudyConflict: a driver holds the study.
        StorageError: it cannot be read or written.
    """
    with driver_lock(folder):
        study = create_study(folder)
        try:
            study.add_training(training)
            refresh(study)
        finally:
            study.close()


def _summary(study: StoredStudy) -> Summary:
    if not study.has_budget:
        raise SpecError(f"{study.folder}: this study has only just begun, so there is nothing to read yet")
    return summarise(study)


def _study_yaml(study: StoredStudy) -> str:
    facts = {"study": study.name, "latencies_are": study.device.passport.kind}
    for name in ("request", "inputs", "devices", "versions"):
        facts[name] = json.loads(json.dumps(to_json(study.fact(name))))
    head = "# Every resolved input of this study. Written from study.db: editing this file changes nothing.\n"
    return head + yaml.safe_dump(facts, sort_keys=False, allow_unicode=True)


def load_arch(name_or_path: str) -> ArchConfig:
    """A published network such as `mobilevitv2-0.75`, or an architecture's YAML file.

    Raises:
        SpecError: neither, or the file describes no network.
    """
    path = Path(name_or_path)
    return read_arch(path) if path.suffix in (".yaml", ".yml") or path.is_file() else published(name_or_path)


@dataclass(frozen=True, kw_only=True, slots=True)
class Exported:
    """An architecture that was written as YAML."""

    path: Path
    arch: ArchConfig
    classes: int  # how many the network usually has
    trial: Trial | None = None  # None if it is of no study
    note: str | None = None  # that the choice may still change, if so


def export_architecture(folder: Path, number: int | None = None, *, pick: Pick = "best") -> Exported:
    """Write the YAML of a trial's architecture to `exports/<key>/architecture.yaml` in the study.

    Args:
        number: of the trial; by default what `pick` says.
        pick: the most accurate confirmed network within the budget, or the fastest statistically tied with it.

    Raises:
        SpecError: there is no such trial, or nothing is confirmed yet.
        StorageError: the study cannot be read, or the file not written.
    """
    summary = read_study(folder)
    trial = _picked(summary, pick) if number is None else _numbered(summary, number)
    return Exported(
        path=_write_yaml(folder / EXPORTS / trial.arch.key, trial.arch, _origin(summary, trial)),
        arch=trial.arch,
        classes=len(summary.inputs.data.classes),
        trial=trial,
        note=provisional_sentence(summary) if number is None else None,
    )


def export_named(name_or_path: str, results: Path) -> Exported:
    """Write the YAML of a published network, or of an architecture's file, to `results/exports/<key>`.

    Raises:
        SpecError: neither, or the file describes no network.
        StorageError: the file cannot be written.
    """
    arch = load_arch(name_or_path)
    path = _write_yaml(results / EXPORTS / arch.key, arch, [f"{Path(name_or_path).name}."])
    return Exported(path=path, arch=arch, classes=1000)


def export_network(
    exported: Exported,
    *,
    format: str,
    classes: int | None = None,
    formulation: FormulationName = DEFAULT_FORMULATION,
    options: CoreMLOptions | None = None,
) -> Path:
    """Write the network with random weights beside its YAML, to be timed, and check that the file computes it.

    Args:
        format: a key of `export.formats.FORMATS`.
        classes: if other than the usual number, it is in the file's name.
        options: of a Core ML package; unusual ones are in the file's name.

    Raises:
        MeasurementError: the exporter refuses the network, or the file computes something else.
        BackendUnavailable: what writes the format is missing.
        StorageError: the file cannot be written.
    """
    from mvit2_search.export import untrained  # imports torch
    from mvit2_search.task.data.load import FASHION_MNIST_MINI, load_images

    folder, classes = exported.path.parent, classes or exported.classes
    chosen = zip(astuple(options or CoreMLOptions()), astuple(CoreMLOptions()), strict=True)
    unusual = [value for value, usual in chosen if value != usual]
    unusual += [f"{classes}-classes"] if classes != exported.classes else []
    target = folder / f"{'-'.join(['untrained', formulation, *unusual])}.{format}"
    try:
        with scratch_folder(folder) as scratch:
            written = untrained.export_untrained(
                exported.arch,
                scratch,
                format=format,
                head=ClassifierHead(classes),
                formulation=formulation,
                images=lambda size: load_images(FASHION_MNIST_MINI, image_size=size, count=4),
                options=options,
            )
            written.check()
            shutil.rmtree(target, ignore_errors=True)  # a package is a folder
            written.artifact.path.replace(target)
    except OSError as err:
        raise StorageError(f"{target}: cannot be written: {err}") from err
    return target


def _write_yaml(folder: Path, arch: ArchConfig, comments: list[str]) -> Path:
    path = folder / "architecture.yaml"
    with locked_folder(folder):
        write_atomically(path, arch_yaml(arch, comments))
    return path


def _picked(summary: Summary, pick: Pick) -> Trial:
    if summary.verdict is None:
        raise SpecError(
            f"study {summary.name!r}: no network within the budget is confirmed yet; name one with `trial`, or "
            "continue with the command that started the study"
        )
    return (summary.verdict.best if pick == "best" else summary.verdict.fastest).trial


def _numbered(summary: Summary, number: int) -> Trial:
    trials = {trial.number: trial for trial in summary.trials if trial.number is not None}
    if number not in trials:
        last = f"; the last is {max(trials)}" if trials else ""
        raise SpecError(f"study {summary.name!r} has no trial {number}{last}")
    return trials[number]


def _origin(summary: Summary, trial: Trial) -> list[str]:
    """Where an exported architecture comes from and what it costs, for the head of its file."""
    found, classes = trial.published or "found by the search", len(summary.inputs.data.classes)
    lines = [f"Trial {trial.number} of study {summary.name}: {found}."]
    if trial.number is None:
        lines = [f"{found}, a published width outside of the space of study {summary.name}."]
    if trial.latency is not None:
        lines.append(f"{trial.latency.latency_ms:.2f} ms {summary.passport.kind}: {summary.passport.device}.")
    if isinstance(trial.outcome, Finished):
        lines.append(f"{trial.outcome.score:.2f} % top-1 on the selection images after a short training.")
    imagenet = network_cost(trial.arch).params
    lines.append(f"{trial.params:,} parameters with {classes} classes, {imagenet:,} with 1000.")
    lines.append("from mvit2_search.api import load_arch; from mvit2_search.models import build_model")
    return lines


@dataclass(frozen=True, kw_only=True, slots=True)
class Available:
    """A device by name; `about` says what it is, or what it needs."""

    name: str
    ready: bool
    about: str


def list_devices() -> list[Available]:
    """Every device and estimate, ready or with what it needs."""
    from mvit2_search.measure.source import find_source, passport_of, source_names  # imports torch

    found = []
    for name in source_names():
        try:
            found.append(Available(name=name, ready=True, about=_about(passport_of(find_source(name)))))
        except BackendUnavailable as err:
            found.append(Available(name=name, ready=False, about=str(err)))
    return found


def _about(passport: Passport) -> str:
    if passport.kind == "predicted":
        return f"{passport.device}, predicted: {passport.runtime}"
    return f"{passport.device}, {passport.chip}, {passport.runtime}, {passport.precision}"


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
    classes: int = 1000,
    formulation: FormulationName = DEFAULT_FORMULATION,
    again: bool = False,
    predict: bool = False,
    tell: Callable[[str], None] = lambda text: None,
) -> Measured:
    """The latency of an architecture: known in `results`, measured, or predicted if the device is an estimate.

    Args:
        again: measure it even if it is known.
        predict: from known latencies of other networks on the device, instead of measuring.
        tell: called with the process that it waits for, if another one times networks on this computer.

    Raises:
        SpecError: there is no such architecture or device, or too few latencies are known to predict from.
        BackendUnavailable: the device cannot be used from here, or went away.
        MeasurementError: the network cannot be exported or timed.
        StorageError: `results` cannot be read or written.
    """
    from mvit2_search.measure.source import find_source, passport_of, predict_latency
    from mvit2_search.measure.timer import open_timer
    from mvit2_search.predict.estimate import Estimate

    arch, source, head = load_arch(name_or_path), find_source(device), ClassifierHead(classes)
    about = partial(Measured, name=Path(name_or_path).name, key=arch.key, num_classes=classes)
    if isinstance(source, Estimate):
        return about(latency=source.predict(arch), passport=passport_of(source), samples=None)
    if predict:
        latency, passport = predict_latency(source, arch, results=results, head=head, formulation=formulation)
        return about(latency=latency, passport=passport, samples=None)
    with open_timer(source, results=results, head=head, formulation=formulation, tell=tell) as timer:
        measured = timer.measure(arch, again=again)
        return about(latency=measured, passport=timer.passport, samples=timer.path(measured.artifact_sha256))


def verify_untrained(path: Path, arch: ArchConfig, *, data: str) -> "Agreement":
    """Compare a file that `export_network` wrote with the untrained network of `arch` in PyTorch.

    Of the first 8 selection images, the 4 whose class the network is most certain of are compared.

    Args:
        data: `fashion-mnist-mini` or a folder of images.

    Raises:
        SpecError: there is no such file, or its inputs or outputs are not those of `arch`.
        MeasurementError: it is damaged.
        DataError: the images cannot be used.
        BackendUnavailable: what reads or runs the file is missing.
    """
    from mvit2_search.export.formats import open_artifact
    from mvit2_search.export.untrained import verify_network
    from mvit2_search.task.data.load import load_images

    artifact = open_artifact(path)
    return verify_network(artifact, arch, load_images(data, image_size=arch.image_size, count=8))
