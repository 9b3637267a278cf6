"""The driver: opens a study, settles its device and budget, and takes it from wherever it stands to its end."""

from contextlib import closing
from dataclasses import asdict
from pathlib import Path

from mvit2_search.analysis.checked import certificate_sentence
from mvit2_search.arch import published
from mvit2_search.execute.inline import InlineExecutor
from mvit2_search.export.untrained import Exporter, export_untrained
from mvit2_search.measure.source import (
    Latencies,
    LatencySource,
    check_space,
)
from mvit2_search.records import (
    Ended,
    Inputs,
    Latency,
    StudyDevice,
    given_up_sentences,
)
from mvit2_search.search import phases
from mvit2_search.search.certificates import fitting_certificate
from mvit2_search.search.confirmation import confirm, is_anything_left
from mvit2_search.search.device_change import kept_accuracies, refuse_other_device, set_aside, set_aside_before
from mvit2_search.search.events import Listener, Stop, Watch
from mvit2_search.search.inheritance import check_inheritable, inherited_proxy
from mvit2_search.search.request import Request, refuse_changes, versions
from mvit2_search.search.runner import Jobs, Runner
from mvit2_search.search.tools import (
    Tools,
    budget_latency,
    device_name,
    scratch_in,
    with_budget,
    with_budget_network,
)
from mvit2_search.store import StoredStudy, Study, create_study, driver_lock
from mvit2_search.store.folders import check_new_name
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import Proxy


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
    tools = Tools(request, interrupt, source, proxy, exporter)
    inherits = request.proxy == "inherited" and proxy is None
    if inherits:
        check_inheritable(tools)
    notes = tools.proxy.blind_spots(tools.space)
    check_space(tools.source, tools.space)
    interrupt.check()
    if request.allow_device_change:
        _start_anew(tools, listener)
    with driver_lock(request.folder) as check, Watch(request.folder, listener, check) as watch:
        watch.phase("loading images")
        dataset = tools.images()
        interrupt.check()
        for note in [*notes, *dataset.notes]:
            watch.note(note)
        if inherits:
            tools.proxy = inherited_proxy(tools, dataset, watch)
        with closing(create_study(request.folder, metric=dataset.task.metric)) as study:
            _open(study, tools, tools.inputs(dataset), watch)
            study.check_seen(lambda params: tools.space.decode(params).key)  # before the backup is replaced
            watch.back_up(study)
            if is_finished(study, request):
                _find_certificate(study, request, watch)
                return
            with scratch_in(request.folder) as scratch:
                watch.phase("timing the reference")
                runner = _runner(study, tools, dataset, scratch, watch)
                watch.opened(study, request)
                _find_certificate(study, request, watch)
                _run(runner, request, stop)
                interrupt.check()
                watch.back_up(study)


def _find_certificate(study: Study, request: Request, listener: Listener) -> None:
    """Say how far the short trainings can be trusted, and keep it for the report."""
    certificate = fitting_certificate(study, request.results, listener.note)
    study.set_fact("certificate", certificate)
    listener.note(certificate_sentence(certificate))


def _start_anew(tools: Tools, listener: Listener) -> None:
    if old := set_aside(tools.request.folder, tools.here, lambda: tools.inputs(tools.images())):
        listener.note(f"the study was begun on another device; it is now {old}, and a new one takes its place")


def is_finished(study: StoredStudy, request: Request) -> bool:
    """Whether the study has come to an end that `request` does not go beyond, and nothing is tried again."""
    ended: Ended | None = study.fact("ended")
    if ended is None or request.goals.go_beyond(ended.goals):
        return False
    return not (phases.is_width_left(study) or is_anything_left(study))


def _open(study: Study, tools: Tools, inputs: Inputs, listener: Listener) -> None:
    """Give a new study its inputs; hold an old one to them and to its device."""
    request = tools.request
    if study.fact("inputs") is None:
        before = [str(path.relative_to(request.results)) for path in set_aside_before(request.folder)]
        study.set_fact("accuracies_from", before)
        study.set_fact("versions", versions())
        study.set_fact("inputs", inputs)
    refuse_changes(study, inputs)
    if study.devices:
        refuse_other_device(study, tools.here)
    then, now = study.fact("versions"), versions()
    for package in sorted(name for name in now if now[name] != then.get(name)):
        listener.note(f"the study began with {package} {then.get(package)}; this is {now[package]}")
    paths = {"results": str(request.results), "init": request.init and str(request.init)}
    study.set_fact("request", {**asdict(request), **paths})
    study.set_fact("goals", request.goals)


def _runner(study: Study, tools: Tools, dataset: Dataset, scratch: Path, listener: Listener) -> Runner:
    head = dataset.task.head
    scale_ms = study.device.reference_ms if study.devices else None
    latencies = tools.latencies(head, scratch, scale_ms=scale_ms, tell=listener.note)
    _keep_scale(study, tools.request, latencies)
    if study.device.budget_ms is None:
        _keep_budget(study, tools.request, latencies, listener)
    jobs = Jobs(
        latencies=with_budget_network(study.device, latencies),
        executor=InlineExecutor(tools.proxy, dataset),
        training=tools.proxy.settings(),
        data=dataset.fingerprint,
        listener=listener,
        interrupt=tools.interrupt,
    )
    return Runner(study, tools.space, head, jobs, kept_accuracies(study, tools.request.results, listener))


def _keep_scale(study: Study, request: Request, latencies: Latencies) -> None:
    """All latencies of a study are of one device and multiples of one reference time."""
    if not study.devices:
        name = device_name(request)
        device = StudyDevice(passport=latencies.passport, reference_ms=latencies.reference_ms)
        study.set_fact("devices", {name: device})
    refuse_other_device(study, latencies.passport)


def _keep_budget(study: Study, request: Request, latencies: Latencies, listener: Listener) -> None:
    """In milliseconds: a later measurement of a network that gives it would move the goal."""
    ((name, device),) = study.devices.items()
    device = with_budget(
        device, request.latency_budget, lambda budget: _budget_latency(study, budget, latencies), listener.note
    )
    study.set_fact("devices", {name: device})


def _budget_latency(study: Study, name: str, latencies: Latencies) -> Latency:
    return budget_latency(name, latencies, study.probing(published(name).key))


def _run(runner: Runner, request: Request, stop: Stop) -> None:
    """The phases, one after the other."""
    study, listener = runner.study, runner.listener
    study.set_fact("ended", None)
    trials = [*runner.state.all_trials(), *study.controls()]
    for sentence in given_up_sentences(trials, study.scores(), study.given_up_probes()):
        listener.note(sentence)
    listener.phase("published widths")
    phases.run_published(runner, stop)
    listener.phase("searching")
    why = phases.search_candidates(runner, request, stop)
    if why is None:
        return
    if request.control:
        listener.phase("random control")
        phases.run_control(runner, request.control, stop)
    if stop.requested:
        return
    listener.phase("confirming")
    if confirm(runner, request.confirm_seeds, stop):
        study.set_fact("ended", Ended(why=why, goals=request.goals))
