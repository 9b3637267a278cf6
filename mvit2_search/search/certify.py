"""A check of a proxy: networks of a latency band, their scores by the proxy, then by longer trainings.

The networks are drawn before anything is trained, and all scores of the proxy are there before the first longer
training. What is done is in `certificate.json` after each training, so a check may be killed at any time.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from mvit2_search.arch.head import Head
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.execute.inline import InlineExecutor
from mvit2_search.execute.protocol import Executor, TrainingJob
from mvit2_search.export.untrained import Exporter, export_untrained
from mvit2_search.measure.source import LatencySource, check_space
from mvit2_search.records import Recipe, StudyDevice
from mvit2_search.records.certificate import (
    LEAST_CHECKED,
    Band,
    Check,
    CheckedNetwork,
    CheckedScore,
    CheckInputs,
    CheckPart,
)
from mvit2_search.records.codec import to_json
from mvit2_search.search.band import BandNetworks
from mvit2_search.search.events import Listener, Stop, followed
from mvit2_search.search.request import Request, versions
from mvit2_search.search.tools import (
    Tools,
    budget_latency,
    budget_text,
    data_inputs,
    device_name,
    scratch_in,
    with_budget,
    with_budget_network,
)
from mvit2_search.store import driver_lock
from mvit2_search.store.certificates import certificate_path, read_check, write_check
from mvit2_search.store.folders import check_new_name
from mvit2_search.system.signals import Interrupt
from mvit2_search.system.text import flat
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.plan import images_drawn
from mvit2_search.train.proxies import Proxy, ShortTrain

_FRESH = 1_000  # seeds of the longer trainings start this far after the proxy's, as those of a confirmation
_LONGER = 10  # times the images of the proxy, if nothing else is asked for
BOUND_TO = ("mvit2-search", "torch")  # packages: a certificate holds for one version of each


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckRequest:
    """One call of `mvit2-search proxy check`; its help says what each setting means.

    Attributes:
        search: what a search would be asked for: the proxy is the one that it would have.
        truth: recipe of the longer trainings; None for the proxy's with ten times the epochs.

    Raises:
        SpecError: a setting is out of range.
    """

    search: Request
    networks: int = 24
    band: Band = field(default_factory=Band)
    truth: Recipe | None = None
    truth_seeds: int = 2

    def __post_init__(self) -> None:
        if self.networks < LEAST_CHECKED:
            raise SpecError(f"`networks` {self.networks}: expected at least {LEAST_CHECKED}")
        if self.truth_seeds < 2:
            raise SpecError(f"`truth_seeds` {self.truth_seeds}: expected at least 2, to tell networks from seeds")
        short, long = (r.epochs * (r.images_per_epoch or 0) for r in (self.search.recipe, self.longer))
        if short and 0 < long <= short:
            raise SpecError(
                f"`truth_epochs`: the longer trainings draw {long:,} images, the short ones {short:,}; give more"
            )
        if self.longer.test_crop < 1:
            raise SpecError("`truth_recipe`: expected one that tests whole images (test_crop 1)")

    @property
    def fresh_seeds(self) -> tuple[int, ...]:
        """Of the longer trainings."""
        first = self.search.seed + _FRESH
        return tuple(range(first, first + self.truth_seeds))

    @property
    def longer(self) -> Recipe:
        """The recipe of the longer trainings."""
        proxy = self.search.recipe
        return self.truth or replace(proxy, epochs=_LONGER * proxy.epochs)


def run_check(
    request: CheckRequest,
    listener: Listener,
    interrupt: Interrupt,
    *,
    source: LatencySource | None = None,
    proxy: Proxy | None = None,
    truth: Proxy | None = None,
    exporter: Exporter = export_untrained,
) -> Check:
    """Start or go on with a check, to its end or until `interrupt` is requested; what is known then.

    Args:
        source, proxy, truth: to be used instead of those that `request` names.
        exporter: writes the networks that are timed.

    Raises:
        SpecError: the request contradicts itself, or too few networks are in the band.
        StudyConflict: the check was begun with other inputs, or another process holds its folder.
        DataError, StorageError, BackendUnavailable, MeasurementError: see `errors`.
        Terminated, KeyboardInterrupt: `interrupt` was told to end now.
    """
    asked, stop = request.search, Stop(interrupt, request.search.max_hours)
    check_new_name(asked.results, asked.study)
    tools = Tools(asked, interrupt, source, proxy, exporter)
    for sentence in tools.proxy.blind_spots(tools.space):
        listener.note(sentence)
    check_space(tools.source, tools.space)
    truth = truth or ShortTrain(request.longer, tools.train_device, between=interrupt.check)
    with driver_lock(asked.folder):
        listener.phase("loading images")
        short, long = _images(tools, request.longer)
        inputs = _inputs(request, tools, short, truth.settings(), long)
        check = _kept(asked, inputs) or _begun(tools, request, inputs, short.task.head, listener)
        if len(check.truth_seeds) < request.truth_seeds:
            check = replace(check, truth_seeds=request.fresh_seeds)
        elif len(check.truth_seeds) > request.truth_seeds:
            listener.note(f"this check has {len(check.truth_seeds)} longer trainings of each network")
        scorer = _Scorer(asked, listener, interrupt, stop)
        check = scorer.complete(check, "proxy", InlineExecutor(tools.proxy, short))
        return scorer.complete(check, "truth", InlineExecutor(truth, long)) if check.is_done("proxy") else check


def _images(tools: Tools, longer: Recipe) -> tuple[Dataset, Dataset]:
    """For the proxy's trainings, and for the longer ones."""
    short = tools.images()
    same = images_drawn(longer) == images_drawn(tools.request.recipe)
    return short, short if same and longer.image_size == tools.request.recipe.image_size else tools.images(longer)


def _inputs(
    request: CheckRequest, tools: Tools, images: Dataset, truth: Mapping[str, Any], truth_data: Dataset
) -> CheckInputs:
    return CheckInputs(
        space=tools.space_inputs(),
        data=data_inputs(images),
        latency_budget=budget_text(request.search.latency_budget),
        band=request.band,
        training=tools.proxy.settings(),
        truth=truth,
        truth_data=truth_data.fingerprint,
        truth_train=len(truth_data.train),
        networks=request.networks,
        task=images.task_name,
        formulation=request.search.formulation,
        seed=request.search.seed,
    )


def _kept(asked: Request, inputs: CheckInputs) -> Check | None:
    """What was begun in the folder; raises StudyConflict where that was with other inputs or versions."""
    check = read_check(asked.folder)
    if check is None:
        return None
    before, now = compared(check.inputs, check.versions), compared(inputs, versions())
    before["device"], now["device"] = check.device_name, device_name(asked)
    if changed := [key for key in sorted(before.keys() | now.keys()) if before.get(key) != now.get(key)]:
        lines = "; ".join(f"{key}: was {before.get(key)}, now {now.get(key)}" for key in changed)
        path = certificate_path(asked.folder)
        raise StudyConflict(f"{path} was made with other inputs: {lines}; use those, or another `study` name")
    return check


def compared(inputs: CheckInputs, made_with: Mapping[str, str]) -> dict[str, Any]:
    """All that a certificate is bound to, by dotted names; of spaces and images the contents count, no names."""
    values = dict(flat(json.loads(json.dumps(to_json(inputs)))))
    values |= {f"versions.{name}": made_with.get(name) for name in BOUND_TO}
    return {key: value for key, value in values.items() if key not in ("space.name", "data.name")}


def _begun(tools: Tools, request: CheckRequest, inputs: CheckInputs, head: Head, listener: Listener) -> Check:
    """A new check with its networks, kept on disk."""
    asked = request.search
    with scratch_in(asked.folder) as scratch:
        listener.phase("timing the reference")
        latencies = tools.latencies(head, scratch, scale_ms=None, tell=listener.note)
        device = StudyDevice(passport=latencies.passport, reference_ms=latencies.reference_ms)
        device = with_budget(
            device, asked.latency_budget, lambda name: budget_latency(name, latencies), listener.note
        )
        assert device.budget_ms is not None
        listener.phase("drawing networks")
        band = BandNetworks(
            tools.space,
            with_budget_network(device, latencies),
            head,
            listener,
            low_ms=request.band.low * device.budget_ms,
            high_ms=request.band.high * device.budget_ms,
            seed=asked.seed,
        )
        networks = band.find(request.networks)
    check = Check(
        inputs=inputs,
        versions=versions(),
        device=device,
        device_name=device_name(asked),
        truth_seeds=request.fresh_seeds,
        networks=tuple(networks),
    )
    write_check(asked.folder, check)
    return check


class _Scorer:
    """Trains the networks of a check, one after the other, and keeps each score."""

    def __init__(self, asked: Request, listener: Listener, interrupt: Interrupt, stop: Stop) -> None:
        self._folder, self._listener = asked.folder, listener
        self._interrupt, self._stop = interrupt, stop

    def complete(self, check: Check, part: CheckPart, executor: Executor) -> Check:
        """The check with the scores of a part that are missing, until the process is asked to stop."""
        self._listener.phase("short trainings" if part == "proxy" else "longer trainings")
        for seed in check.seeds(part):
            for network in check.to_score(part):
                check = self._settled(check, part, executor, network, seed)
        return check

    def _settled(
        self, check: Check, part: CheckPart, executor: Executor, network: CheckedNetwork, seed: int
    ) -> Check:
        """With the score of one training, which is tried again if it fails."""
        known = check.score(part, network.arch.key, seed)
        while not (self._stop.requested or (known and known.is_settled)):
            score = self._score(check.inputs, part, executor, network, seed)
            known = replace(score, tries=1 + (known.tries if known else 0))
            check = check.with_score(part, known)
            write_check(self._folder, check)
        return check

    def _score(
        self, inputs: CheckInputs, part: CheckPart, executor: Executor, network: CheckedNetwork, seed: int
    ) -> CheckedScore:
        is_proxy = part == "proxy"
        job = TrainingJob(
            arch=network.arch,
            training=inputs.training if is_proxy else inputs.truth,
            seed=seed,
            part="selection" if is_proxy else "confirmation",
            data=inputs.data.fingerprint if is_proxy else inputs.truth_data,
        )
        return trained_score(executor, job, network.name, part, self._listener, self._interrupt)


def trained_score(
    executor: Executor, job: TrainingJob, name: str, label: str, listener: Listener, interrupt: Interrupt
) -> CheckedScore:
    """Train a network and tell of it; a training that fails is a score with its failure."""
    interrupt.check()
    listener.started(name, job.arch)
    running = executor.submit(job)
    for _ in followed(running, listener, interrupt):
        pass
    result = running.result()
    score = None if result.ending == "failed" else result.scores[-1].score
    text = f"failed: {result.failure}" if score is None else f"{score:6.2f} %"
    listener.told(f"{label:<9} {name:<16} {text}, seed {job.seed}")
    return CheckedScore(key=job.arch.key, seed=job.seed, score=score, failure=result.failure)
