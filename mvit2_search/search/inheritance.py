"""Searches whose networks inherit weights: one set for all, which is trained before the first is scored."""

import hashlib
import json
import random
from collections.abc import Callable
from dataclasses import replace
from operator import le

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.models.slices import covering
from mvit2_search.records import EpochRow, TrainingState
from mvit2_search.records.codec import to_json
from mvit2_search.search.events import Listener
from mvit2_search.search.request import Request, parse_budget
from mvit2_search.search.tools import Tools
from mvit2_search.space import SearchSpace
from mvit2_search.store.folders import SHARED
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.checkpoint import file_sha256, newest_checkpoint
from mvit2_search.train.family import Family, family_of_space, widest
from mvit2_search.train.inherited import Inherited, refuse_uninheritable
from mvit2_search.train.job import TrainingJob
from mvit2_search.train.loop import Execution
from mvit2_search.train.origin import beginning, origin
from mvit2_search.train.plan import Plan
from mvit2_search.train.shared import read_shared, shared_job, train_shared
from mvit2_search.train.start import weights_file

_BAND = (0.4, 1.1)  # of the budget network's multiply-adds: half of its latency to all of it, and some more


def check_inheritable(tools: Tools) -> None:
    """Raises SpecError where the space has networks that inherit nothing, or the request asks for more."""
    refuse_uninheritable(tools.space, covering(widest(tools.space), *_baselines(tools.request, tools.space)))
    if tools.request.allow_device_change:
        raise SpecError("`allow_device_change` goes with `proxy` short; give a new `study`")


def inherited_proxy(tools: Tools, dataset: Dataset, listener: Listener) -> Inherited:
    """The proxy of the request. Its weights are trained now, or go on, unless they lie in the results already.

    Raises:
        SpecError: the weights to begin with cannot be read, or are too narrow for the space.
        StudyConflict: another search trains the same weights.
        TrainingError: the training gave no usable weights.
    """
    request = tools.request
    job, family = _job(tools, dataset)
    listener.phase("training shared weights")
    listener.note(f"the weights that networks inherit are trained in {job.folder}, {request.shared_epochs} epochs")
    try:
        train_shared(job, family, listener=_Told(listener), check_interrupt=_stopping(tools))
    except StudyConflict as err:
        raise StudyConflict(f"{job.folder}: another search trains these weights; wait for it") from err
    shared, short = read_shared(job.folder), tools.short_train(request.recipe)
    return Inherited(shared, device=tools.train_device, short=short, between=tools.interrupt.check)


def _stopping(tools: Tools) -> Callable[[], None]:
    """Stops at the first Ctrl-C: there is no trial yet to be finished."""

    def check() -> None:
        tools.interrupt.check()
        if tools.interrupt.requested:
            raise KeyboardInterrupt

    return check


def _job(tools: Tools, dataset: Dataset) -> tuple[TrainingJob, Family]:
    """The training, in a folder that is named after all that it follows from."""
    request, head = tools.request, dataset.task.head
    known = None if request.init is None else origin(request.init, head)
    family = _family(tools, head, None if known is None else known[0])
    job = shared_job(
        family,
        dataset,
        request.shared_recipe,
        folder=request.results,
        execution=Execution(device=tools.train_device),
        seed=request.seed,
        init=file_sha256(weights_file(request.init)) if request.init else None,
        taught=tools.taught,
    )
    about = json.dumps([family.to_json(), to_json(job.inputs)], sort_keys=True)
    job = replace(job, folder=request.results / SHARED / hashlib.sha256(about.encode()).hexdigest()[:16])
    if known is None or newest_checkpoint(job.folder)[0] is not None:
        return job, family
    arch, weights = known
    begun = beginning(weights, arch, family.maximal, dataset, device=tools.train_device, seed=request.seed)
    return replace(job, weights=begun), family


def _family(tools: Tools, head: Head, known: ArchConfig | None) -> Family:
    """Of the networks whose latency may be in the band, as far as multiply-adds tell; else of all of the space.

    Args:
        known: the network whose weights the shared ones begin with.
    """
    request, space = tools.request, tools.space
    above = _baselines(request, space, known)
    budget = parse_budget(request.latency_budget)
    everything = family_of_space(space, above=above)
    if not isinstance(budget, str):
        return everything
    low, high = (share * network_cost(published(budget), head).macs for share in _BAND)
    wanted = family_of_space(
        space,
        above=above,
        is_wanted=lambda arch: low <= network_cost(arch, head).macs <= high,
        about={"macs": [low, high]},
    )
    try:
        wanted.draw(random.Random(0))
    except SpecError:
        return everything
    return wanted


def _baselines(request: Request, space: SearchSpace, known: ArchConfig | None = None) -> list[ArchConfig]:
    """The published widths up to the budget and the next one, or those up to the largest network of the space.

    With `known`, that one, and of the widths those whose tokens are no wider: it cannot be grown to others.
    """
    budget = parse_budget(request.latency_budget)
    largest = published(budget) if isinstance(budget, str) else widest(space)
    widths = [ArchConfig.mobilevitv2(width) for width in PUBLISHED_WIDTHS]
    count = sum(network_cost(arch).macs <= network_cost(largest).macs for arch in widths)
    found = widths[: count + isinstance(budget, str)]
    if known is None:
        return found
    return [known, *(arch for arch in found if all(map(le, arch.attention_dims, known.attention_dims)))]


class _Told:
    """Tells a search's listener of the training."""

    def __init__(self, listener: Listener) -> None:
        self._listener, self._last = listener, ""

    def started(self, plan: Plan, state: TrainingState) -> None:
        if 0 < state.done < plan.steps:
            self._listener.note(f"going on after step {state.done:,} of {plan.steps:,}")

    def stepped(self, done: int, plan: Plan) -> None:
        self._listener.working(f"step {done:,} of {plan.steps:,}{self._last}")

    def epoch_ended(self, row: EpochRow, rows: object) -> None:
        self._last = f"; the largest network: {row.score:.1f} %"

    def warned(self, text: str) -> None:
        self._listener.note(text)
