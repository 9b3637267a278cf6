"""What a request names, ready to use: its space, its device, its proxy and its images."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from mvit2_search.arch import published
from mvit2_search.arch.head import Head
from mvit2_search.errors import MeasurementError, StorageError
from mvit2_search.execute.checks import CheckedDevice, checked_latencies
from mvit2_search.export.untrained import Exporter, export_untrained
from mvit2_search.measure.devices.registry import default_device
from mvit2_search.measure.source import Latencies, LatencySource, find_source, latencies_of, passport_of
from mvit2_search.measure.timer import NetworkTimer
from mvit2_search.predict.estimate import Estimate
from mvit2_search.records import (
    BudgetNetwork,
    DataInputs,
    Inputs,
    Latency,
    Measurement,
    Recipe,
    StudyDevice,
    TeacherInputs,
)
from mvit2_search.search.request import Request, parse_budget
from mvit2_search.space import load_space
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.cache import image_cache
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.task.data.load import load_dataset
from mvit2_search.train.device import keep_freed_memory, resolve_train_device
from mvit2_search.train.plan import images_drawn
from mvit2_search.train.proxies import Proxy, ShortTrain, Taught
from mvit2_search.train.teacher import open_teacher


class Tools:
    """A request and what it names; `here` is the passport of its source."""

    def __init__(
        self,
        request: Request,
        interrupt: Interrupt,
        source: LatencySource | None = None,
        proxy: Proxy | None = None,
        exporter: Exporter = export_untrained,
    ) -> None:
        self.request, self.interrupt, self.exporter = request, interrupt, exporter
        self.space = load_space(request.space)
        self.source = source or find_source(request.device)
        self.here = passport_of(self.source)
        keep_freed_memory()
        self.train_device = resolve_train_device(request.train_on)
        self.taught = _taught(request, self.train_device)
        self.proxy = proxy or self.short_train(request.recipe)

    def short_train(self, recipe: Recipe) -> ShortTrain:
        """The proxy of the request, by `recipe`."""
        return ShortTrain(recipe, self.train_device, taught=self.taught, between=self.interrupt.check)

    def images(self, recipe: Recipe | None = None) -> Dataset:
        """For trainings by `recipe`, by default all that the request asks for. Loaded anew by each call.

        Raises:
            DataError: they cannot be used.
            SpecError: the teacher is one of other classes.
        """
        recipe = recipe or self.request.longest_recipe
        dataset = load_dataset(
            self.request.data,
            image_size=recipe.image_size,
            max_train=images_drawn(recipe),
            results=[self.request.results, self.request.folder],
            cache=image_cache(self.request.results, self.request.cache_gb),
        )
        if self.taught:
            self.taught.check(dataset)
        return dataset

    def inputs(self, dataset: Dataset) -> Inputs:
        """Everything that the study's numbers depend on."""
        request = self.request
        return Inputs(
            space=self.space_inputs(),
            data=data_inputs(dataset),
            task=dataset.task_name,
            latency_budget=budget_text(request.latency_budget),
            max_params=request.max_params,
            formulation=request.formulation,
            seed=request.seed,
            sampler=request.sampler,
            stopping=request.stopping,
            training=self.proxy.settings(),
        )

    def space_inputs(self) -> dict[str, Any]:
        return {"name": self.space.name, **self.space.to_json()}

    def latencies(
        self, head: Head, scratch: Path, *, scale_ms: float | None, tell: Callable[[str], None]
    ) -> Latencies:
        """Of the request's source, on a scale that is known already, or its own."""
        source, request = self.source, self.request
        if isinstance(source, Estimate):
            return checked_latencies(latencies_of(source))
        timer = NetworkTimer(
            CheckedDevice(source, self.interrupt.check),
            results=request.results,
            scratch=scratch,
            head=head,
            formulation=request.formulation,
            data=request.data,
            scale_ms=scale_ms,
            exporter=self.exporter,
            tell=tell,
        )
        return checked_latencies(latencies_of(timer))


def _taught(request: Request, device: str) -> Taught | None:
    """The teacher of the short trainings, if there is one."""
    asked = TeacherInputs(weights="", temperature=request.teacher_temperature, weight=request.teacher_weight)
    if request.teacher is None:
        return None
    teacher = open_teacher(request.teacher, device=device)
    return Taught(teacher=teacher, asked=replace(asked, weights=teacher.sha256), results=request.results)


def device_name(request: Request) -> str:
    """The name of its device in records."""
    return default_device() if request.device == "auto" else request.device


def data_inputs(dataset: Dataset) -> DataInputs:
    """What records keep of a data set."""
    return DataInputs(
        name=dataset.name,
        fingerprint=dataset.fingerprint,
        classes=tuple(dataset.classes),
        train=len(dataset.train),
        selection=len(dataset.selection),
        confirmation=len(dataset.confirmation),
    )


def budget_text(text: str) -> str:
    """A budget as records keep it; raises SpecError."""
    budget = parse_budget(text)
    return budget if isinstance(budget, str) else f"{budget:g}ms"


def with_budget(
    device: StudyDevice, text: str, latency_of: Callable[[str], Latency], tell: Callable[[str], None]
) -> StudyDevice:
    """`device` with its budget in ms, that of a published network as `latency_of` gives it."""
    budget = parse_budget(text)
    if not isinstance(budget, str):
        return replace(device, budget_ms=budget)
    latency = latency_of(budget)
    if isinstance(latency, Measurement) and latency.flags:
        tell(f"the budget is not sure: {budget} takes {latency}")
    network = BudgetNetwork(key=published(budget).key, latency=latency)
    return replace(device, budget_ms=latency.latency_ms, budget_network=network)


def budget_latency(
    name: str, latencies: Latencies, probing: AbstractContextManager[None] | None = None
) -> Latency:
    """Of the published network that gives the budget; raises MeasurementError where it has none.

    Args:
        probing: held meanwhile; may refuse.
    """
    try:
        with probing or nullcontext():
            return latencies.of(published(name))
    except MeasurementError as err:
        raise MeasurementError(
            f"the network that gives the budget, {name}, has no latency here: {err}; give a new `study` and its "
            "`latency_budget` as a time such as 12ms, or by another published network"
        ) from err


def with_budget_network(device: StudyDevice, latencies: Latencies) -> Latencies:
    """The network that gives the budget takes just that, so it is within it and is not measured again."""
    if (network := device.budget_network) is None:
        return latencies
    return replace(latencies, of=lambda arch: network.latency if arch.key == network.key else latencies.of(arch))


@contextmanager
def scratch_in(folder: Path) -> Iterator[Path]:
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
