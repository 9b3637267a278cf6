"""The driver: opens a study, settles its device and budget, and takes it from wherever it stands to its end."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from pathlib import Path

from mvit2_search.arch import published
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, StorageError
from mvit2_search.execute.checks import CheckedDevice, checked_latencies
from mvit2_search.execute.inline import InlineExecutor
from mvit2_search.export.untrained import Exporter, export_untrained
from mvit2_search.measure.devices.registry import default_device
from mvit2_search.measure.source import (
    Latencies,
    LatencySource,
    check_space,
    find_source,
    latencies_of,
    passport_of,
)
from mvit2_search.measure.timer import NetworkTimer
from mvit2_search.predict.estimate import Estimate
from mvit2_search.records import (
    BudgetNetwork,
    DataInputs,
    Ended,
    Inputs,
    Latency,
    Measurement,
    StudyDevice,
    given_up_sentences,
)
from mvit2_search.search import phases
from mvit2_search.search.confirmation import confirm, is_anything_left
from mvit2_search.search.device_change import kept_accuracies, refuse_other_device, set_aside, set_aside_before
from mvit2_search.search.events import Listener, Stop, Watch
from mvit2_search.search.request import Request, parse_budget, refuse_changes, versions
from mvit2_search.search.runner import Jobs, Runner
from mvit2_search.space import load_space
from mvit2_search.store import StoredStudy, Study, create_study, driver_lock
from mvit2_search.store.folders import check_new_name
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.cache import image_cache
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train.device import keep_freed_memory, resolve_train_device
from mvit2_search.train.plan import images_drawn
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
    tools = _Tools(request, interrupt, source, proxy, exporter)
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
        with closing(create_study(request.folder, metric=dataset.task.metric)) as study:
            _open(study, tools, tools.inputs(dataset), watch)
            study.check_seen(lambda params: tools.space.decode(params).key)  # before the backup is replaced
            watch.back_up(study)
            if is_finished(study, request):
                return
            with _scratch(request.folder) as scratch:
                watch.phase("timing the reference")
                runner = _runner(study, tools, dataset, scratch, watch)
                watch.opened(study, request)
                _run(runner, request, stop)
                interrupt.check()
                watch.back_up(study)


class _Tools:
    """A request and what it names; `here` is the passport of its source."""

    def __init__(
        self,
        request: Request,
        interrupt: Interrupt,
        source: LatencySource | None,
        proxy: Proxy | None,
        exporter: Exporter,
    ) -> None:
        self.request, self.interrupt, self.exporter = request, interrupt, exporter
        self.space = load_space(request.space)
        self.source = source or find_source(request.device)
        self.here = passport_of(self.source)
        keep_freed_memory()
        self.proxy = proxy or ShortTrain(
            request.recipe, resolve_train_device(request.train_on), between=interrupt.check
        )

    def images(self) -> Dataset:
        """Loaded anew by each call."""
        return load_dataset(
            self.request.data,
            image_size=self.request.recipe.image_size,
            max_train=images_drawn(self.request.recipe),
            results=[self.request.results, self.request.folder],
            cache=image_cache(self.request.results, self.request.cache_gb),
        )

    def inputs(self, dataset: Dataset) -> Inputs:
        """Everything that the study's numbers depend on."""
        request, budget = self.request, parse_budget(self.request.latency_budget)
        data = DataInputs(
            name=dataset.name,
            fingerprint=dataset.fingerprint,
            classes=tuple(dataset.classes),
            train=len(dataset.train),
            selection=len(dataset.selection),
            confirmation=len(dataset.confirmation),
        )
        return Inputs(
            space={"name": self.space.name, **self.space.to_json()},
            data=data,
            task=dataset.task_name,
            latency_budget=budget if isinstance(budget, str) else f"{budget:g}ms",
            max_params=request.max_params,
            formulation=request.formulation,
            seed=request.seed,
            sampler=request.sampler,
            stopping=request.stopping,
            training=self.proxy.settings(),
        )


def _start_anew(tools: _Tools, listener: Listener) -> None:
    if old := set_aside(tools.request.folder, tools.here, lambda: tools.inputs(tools.images())):
        listener.note(f"the study was begun on another device; it is now {old}, and a new one takes its place")


def is_finished(study: StoredStudy, request: Request) -> bool:
    """Whether the study has come to an end that `request` does not go beyond, and nothing is tried again."""
    ended: Ended | None = study.fact("ended")
    if ended is None or request.goals.go_beyond(ended.goals):
        return False
    return not (phases.is_width_left(study) or is_anything_left(study))


def _open(study: Study, tools: _Tools, inputs: Inputs, listener: Listener) -> None:
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
    study.set_fact("request", {**asdict(request), "results": str(request.results)})
    study.set_fact("goals", request.goals)


def _runner(study: Study, tools: _Tools, dataset: Dataset, scratch: Path, listener: Listener) -> Runner:
    head = dataset.task.head
    latencies = _latencies(study, tools, head, scratch, listener)
    _keep_scale(study, tools.request, latencies)
    if study.device.budget_ms is None:
        _keep_budget(study, tools.request, latencies, listener)
    jobs = Jobs(
        latencies=_with_budget_network(study, latencies),
        executor=InlineExecutor(tools.proxy, dataset),
        training=tools.proxy.settings(),
        data=dataset.fingerprint,
        listener=listener,
        interrupt=tools.interrupt,
    )
    return Runner(study, tools.space, head, jobs, kept_accuracies(study, tools.request.results, listener))


def _latencies(study: Study, tools: _Tools, head: Head, scratch: Path, listener: Listener) -> Latencies:
    """On the scale of the study, where it has one."""
    source, request = tools.source, tools.request
    if isinstance(source, Estimate):
        return checked_latencies(latencies_of(source))
    timer = NetworkTimer(
        CheckedDevice(source, tools.interrupt.check),
        results=request.results,
        scratch=scratch,
        head=head,
        formulation=request.formulation,
        data=request.data,
        scale_ms=study.device.reference_ms if study.devices else None,
        exporter=tools.exporter,
        tell=listener.note,
    )
    return checked_latencies(latencies_of(timer))


def _keep_scale(study: Study, request: Request, latencies: Latencies) -> None:
    """All latencies of a study are of one device and multiples of one reference time."""
    if not study.devices:
        name = default_device() if request.device == "auto" else request.device
        device = StudyDevice(passport=latencies.passport, reference_ms=latencies.reference_ms)
        study.set_fact("devices", {name: device})
    refuse_other_device(study, latencies.passport)


def _keep_budget(study: Study, request: Request, latencies: Latencies, listener: Listener) -> None:
    """In milliseconds: a later measurement of a network that gives it would move the goal."""
    ((name, device),) = study.devices.items()
    budget = parse_budget(request.latency_budget)
    if isinstance(budget, str):
        latency = _budget_latency(study, budget, latencies)
        if isinstance(latency, Measurement) and latency.flags:
            listener.note(f"the budget is not sure: {budget} takes {latency}")
        network = BudgetNetwork(key=published(budget).key, latency=latency)
        device = replace(device, budget_ms=latency.latency_ms, budget_network=network)
    else:
        device = replace(device, budget_ms=budget)
    study.set_fact("devices", {name: device})


def _budget_latency(study: Study, name: str, latencies: Latencies) -> Latency:
    arch = published(name)
    try:
        with study.probing(arch.key):
            return latencies.of(arch)
    except MeasurementError as err:
        raise MeasurementError(
            f"the network that gives the budget, {name}, has no latency here: {err}; give a new `study` and its "
            "`latency_budget` as a time such as 12ms, or by another published network"
        ) from err


def _with_budget_network(study: Study, latencies: Latencies) -> Latencies:
    """The network that gives the budget takes just that, so it is within it and is not measured again."""
    if (network := study.device.budget_network) is None:
        return latencies
    return replace(latencies, of=lambda arch: network.latency if arch.key == network.key else latencies.of(arch))


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


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for files that need not outlast this run; what a killed one left there is removed."""
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
