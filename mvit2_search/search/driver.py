"""The driver: opens the study, and takes it from wherever it stands to its end."""

import shlex
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvit2_search.arch import published
from mvit2_search.errors import MeasurementError, SpecError, StorageError
from mvit2_search.export.exporter import Exporter, export_untrained
from mvit2_search.measure.devices.registry import default_device
from mvit2_search.measure.source import (
    Latencies,
    LatencySource,
    check_space,
    find_source,
    open_latencies,
    passport_of,
)
from mvit2_search.predict.estimate import Estimate
from mvit2_search.records import (
    BudgetNetwork,
    Ended,
    Inputs,
    Latency,
    Measurement,
    Passport,
    StudyDevice,
    given_up_sentences,
)
from mvit2_search.search.device_change import (
    HOLDING,
    KeptAccuracies,
    is_of_another_device,
    refuse_other_device,
    set_aside,
    set_aside_before,
)
from mvit2_search.search.events import Listener, Stop, Watch
from mvit2_search.search.inputs import inputs_of, refuse_changes, versions
from mvit2_search.search.jobs import CheckedDevice, Evaluator, checked
from mvit2_search.search.phases import (
    confirm,
    is_anything_left,
    is_width_left,
    run_control,
    run_published,
    search_candidates,
)
from mvit2_search.search.request import Request, parse_budget
from mvit2_search.search.state import TrialRunner
from mvit2_search.space import SearchSpace, load_space
from mvit2_search.stopping import make_stopping_rule
from mvit2_search.store import StoredStudy, Study, create_study, driver_lock, open_study
from mvit2_search.store.folders import check_new_name
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train.device import keep_freed_memory, resolve_train_device
from mvit2_search.train.proxies import Proxy, ShortTrain


def run_search(
    request: Request,
    listener: Listener,
    interrupt: Interrupt,
    *,
    source: LatencySource | None = None,
    proxy: Proxy | None = None,
    exporter: Exporter = export_untrained,
) -> None:
    """Start or resume a study and run it to its end, until `interrupt` is requested, or its hours are over.

    May be killed at any point: the same request then goes on where it was. The records are in
    `request.folder`; `store.open_study` reads them.

    Args:
        source, proxy: to be used instead of those that `request` names.
        exporter: writes the networks that are timed.

    Raises:
        SpecError: the request contradicts itself.
        StudyConflict: another driver holds the study, or it was made with other inputs.
        DataError, StorageError, BackendUnavailable, MeasurementError: see `errors`.
        Terminated, KeyboardInterrupt: `interrupt` was told to end now.
    """
    stop = Stop(interrupt, request.max_hours)
    check_new_name(request.results, request.study)
    space = load_space(request.space)
    source = source or find_source(request.device)
    here = passport_of(source)
    keep_freed_memory()
    proxy = proxy or ShortTrain(request.recipe, resolve_train_device(request.train_on), between=interrupt.check)
    notes = proxy.blind_spots(space)
    check_space(source, space)
    interrupt.check()
    if request.allow_device_change:
        _start_anew(request, here, listener, lambda data: inputs_of(request, space, data, proxy))
    with driver_lock(request.folder) as check, Watch(request.folder, listener, check) as watch:
        watch.phase("loading images")
        dataset = _dataset(request)
        interrupt.check()
        for note in [*notes, *dataset.notes]:
            listener.note(note)
        with closing(create_study(request.folder)) as study:
            _open(study, request, here, inputs_of(request, space, dataset, proxy), listener)
            study.check_seen(lambda params: space.decode(params).key)  # before the backup is replaced
            watch.back_up(study)
            if is_finished(study, request):
                return
            with _scratch(request.folder) as scratch:
                watch.phase("timing the reference")
                watched = source if isinstance(source, Estimate) else CheckedDevice(source, interrupt.check)
                latencies = _latencies(study, request, watched, dataset, scratch, watch, exporter)
                kept = _kept(study, request.results, watch)
                runner = _runner(study, space, dataset, proxy, latencies, watch, interrupt, kept)
                watch.opened(study, request)
                _run(runner, request, stop)
                interrupt.check()
                watch.back_up(study)


def _dataset(request: Request) -> Dataset:
    recipe = request.recipe
    return load_dataset(
        request.data,
        image_size=recipe.image_size,
        max_train=recipe.max_images,
        results=[request.results, request.folder],
    )


def _start_anew(request: Request, here: Passport, listener: Listener, inputs: Callable[[Dataset], Inputs]) -> None:
    """Set a study of another device aside, once it is known that its accuracies hold for the new one."""
    if not is_of_another_device(request.folder, here):
        return
    old_study, asked = open_study(request.folder), inputs(_dataset(request))
    refuse_changes(old_study, replace(old_study.inputs, **{name: getattr(asked, name) for name in HOLDING}))
    if old := set_aside(request.folder, here):
        listener.note(f"the study was begun on another device; it is now {old}, and a new one takes its place")


def is_finished(study: StoredStudy, request: Request) -> bool:
    """Whether the study has come to an end that `request` does not go beyond, and nothing is tried again."""
    ended: Ended | None = study.fact("ended")
    if ended is None or request.goals.go_beyond(ended.goals):
        return False
    return not (is_width_left(study) or is_anything_left(study))


def _open(study: Study, request: Request, here: Passport, inputs: Inputs, listener: Listener) -> None:
    """Give a new study its inputs; hold an old one to them and to its device."""
    if study.fact("inputs") is None:
        before = [str(path.relative_to(request.results)) for path in set_aside_before(request.folder)]
        study.set_fact("accuracies_from", before)
        study.set_fact("versions", versions())
        study.set_fact("inputs", inputs)
    refuse_changes(study, inputs)
    if study.devices:
        refuse_other_device(study, here)
    then, now = study.fact("versions"), versions()
    for package in sorted(name for name in now if now[name] != then.get(name)):
        listener.note(f"the study began with {package} {then.get(package)}; this is {now[package]}")
    study.set_fact("request", request.to_json())
    study.set_fact("goals", request.goals)


def _latencies(
    study: Study,
    request: Request,
    source: LatencySource,
    dataset: Dataset,
    scratch: Path,
    listener: Listener,
    exporter: Exporter,
) -> Latencies:
    """Latencies on the study's scale; a new study gets its scale and its budget."""
    latencies = open_latencies(
        source,
        results=request.results,
        scratch=scratch,
        num_classes=len(dataset.classes),
        formulation=request.formulation,
        data=request.data,
        reference_ms=study.device.reference_ms if study.devices else None,
        exporter=exporter,
        tell=listener.note,
    )
    latencies = checked(latencies)
    _keep_scale(study, request, latencies)
    _keep_budget(study, request, latencies, listener)
    return _with_budget(study, latencies)


def _kept(study: Study, results: Path, listener: Listener) -> KeptAccuracies:
    """The accuracies that hold of the studies that were set aside for this one."""
    kept, inputs, there = KeptAccuracies(), study.inputs, []
    for folder in [results / name for name in study.fact("accuracies_from") or []]:
        if not (folder / "study.db").is_file():
            listener.note(f"{folder} is gone: what was trained there is trained again")
            continue
        try:
            kept.add(open_study(folder), inputs)
            there.append(str(folder))
        except (SpecError, StorageError):
            listener.note(
                f"{folder} cannot be read: what was trained there is trained again; "
                f"`mvit2-search status {shlex.quote(str(folder))}` says what can be restored"
            )
    if there:
        listener.note(f"{', '.join(there)}: {kept.sentence()}")
    return kept


def _runner(
    study: Study,
    space: SearchSpace,
    dataset: Dataset,
    proxy: Proxy,
    latencies: Latencies,
    listener: Listener,
    interrupt: Interrupt,
    kept: KeptAccuracies,
) -> TrialRunner:
    seed = study.inputs.seed
    evaluator = Evaluator(
        latencies,
        dataset,
        proxy=proxy,
        limits=study.limits,
        seed=seed,
        listener=listener,
        interrupt=interrupt,
        kept=kept,
        device=next(iter(study.devices)),
    )
    return TrialRunner(
        study=study,
        space=space,
        evaluator=evaluator,
        limits=study.limits,
        num_classes=len(dataset.classes),
        seed=seed,
        provenance={**versions(), "data": dataset.fingerprint, "passport": study.device.passport.digest},
        listener=listener,
        stopping=make_stopping_rule(study.inputs.stopping),
    )


def _run(runner: TrialRunner, request: Request, stop: Stop) -> None:
    study = runner.study
    study.set_fact("ended", None)
    trials = [*runner.all_trials(), *study.controls()]
    for sentence in given_up_sentences(trials, study.scores(), study.given_up_probes()):
        runner.listener.note(sentence)
    runner.listener.phase("published widths")
    run_published(runner, stop)
    runner.listener.phase("searching")
    why = search_candidates(runner, request, stop)
    if why is None:
        return
    if request.control:
        runner.listener.phase("random control")
        run_control(runner, request.control, stop)
    if stop.requested:
        return
    runner.listener.phase("confirming")
    if confirm(runner, request.confirm_seeds, stop):
        study.set_fact("ended", Ended(why=why, goals=request.goals))


def _keep_scale(study: Study, request: Request, latencies: Latencies) -> None:
    """All latencies of a study are of one device and multiples of one reference time."""
    if not study.devices:
        name = default_device() if request.device == "auto" else request.device
        device = StudyDevice(passport=latencies.passport, reference_ms=latencies.reference_ms)
        study.set_fact("devices", {name: device})
    refuse_other_device(study, latencies.passport)


def _keep_budget(study: Study, request: Request, latencies: Latencies, listener: Listener) -> None:
    """The budget in milliseconds, once: a later measurement would move the goal."""
    if study.device.budget_ms is not None:
        return
    budget = parse_budget(request.latency_budget)
    if not isinstance(budget, str):
        _change_device(study, budget_ms=budget)
        return
    latency = _latency_of(study, budget, latencies)
    if isinstance(latency, Measurement) and latency.flags:
        listener.note(f"the budget is not sure: {budget} takes {latency}")
    network = BudgetNetwork(key=published(budget).key, latency=latency)
    _change_device(study, budget_ms=latency.latency_ms, budget_network=network)


def _change_device(study: Study, **changes: Any) -> None:
    ((name, device),) = study.devices.items()
    study.set_fact("devices", {name: replace(device, **changes)})


def _latency_of(study: Study, name: str, latencies: Latencies) -> Latency:
    arch = published(name)
    try:
        with study.probing(arch.key):
            return latencies.of(arch)
    except MeasurementError as err:
        raise MeasurementError(
            f"the network that gives the budget, {name}, has no latency here: {err}; give a new --study and its "
            "--latency-budget as a time such as 12ms, or by another published network"
        ) from err


def _with_budget(study: Study, latencies: Latencies) -> Latencies:
    """The network that gives the budget takes just that, and so is within it: nothing measures it again."""
    if (network := study.device.budget_network) is None:
        return latencies
    return replace(latencies, of=lambda arch: network.latency if arch.key == network.key else latencies.of(arch))


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for what need not outlast the driver; a killed one's is removed first."""
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        scratch.mkdir()
    except OSError as err:
        raise StorageError(f"{scratch}: {err.strerror}") from err
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
