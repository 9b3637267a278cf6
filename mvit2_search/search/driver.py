"""The driver: opens the study, and takes it from wherever it stands to its end."""

import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict
from pathlib import Path

from mvit2_search.arch import published
from mvit2_search.data import Dataset, load_dataset
from mvit2_search.errors import StudyConflict
from mvit2_search.latency import Device, make_device
from mvit2_search.proxies import Proxy, ShortTrain
from mvit2_search.records import Passport
from mvit2_search.search.baselines import run_baselines
from mvit2_search.search.candidates import search_candidates
from mvit2_search.search.confirmation import confirm
from mvit2_search.search.evaluate import Evaluator, Timer
from mvit2_search.search.events import Listener
from mvit2_search.search.inputs import inputs_of, refuse_changes, versions
from mvit2_search.search.interrupt import Interrupt
from mvit2_search.search.request import Request, parse_budget
from mvit2_search.search.trials import TrialRunner
from mvit2_search.space import SearchSpace, load_space
from mvit2_search.store import Study, create_study, driver_lock
from mvit2_search.train import keep_freed_memory, resolve_train_device
from mvit2_search.verdict import Limits

_LATENCIES = ".latencies"  # measurements shared by the studies of a results folder


def run_search(
    request: Request,
    listener: Listener,
    interrupt: Interrupt,
    *,
    device: Device | None = None,
    proxy: Proxy | None = None,
) -> None:
    """Start or resume a study and run it to its end, or until `interrupt` is requested.

    May be killed at any point: the same request then goes on where it was. The records are in
    `request.folder`; `store.open_study` reads them.

    Args:
        device, proxy: to be used instead of those that `request` names.

    Raises:
        SpecError: the request contradicts itself.
        StudyConflict: another driver holds the study, or it was made with other inputs.
        DataError, StorageError, BackendUnavailable: see `errors`.
    """
    space = load_space(request.space)
    device = device or make_device(request.device)
    device.check()
    keep_freed_memory()
    proxy = proxy or ShortTrain(request.recipe, resolve_train_device(request.train_on))
    for blind_spot in proxy.blind_spots(space):
        listener.note(blind_spot)
    with driver_lock(request.folder):
        recipe = request.recipe
        dataset = load_dataset(request.data, image_size=recipe.image_size, max_train=recipe.max_images)
        for note in dataset.notes:
            listener.note(note)
        with closing(create_study(request.folder)) as study:
            _open(study, request, inputs_of(request, space, dataset, proxy))
            if not is_finished(study, request):
                with _scratch(request.folder) as scratch:
                    timer = Timer(device, request.results / _LATENCIES, scratch, len(dataset.classes))
                    _run(study, request, space, dataset, proxy, timer, listener, interrupt)


def is_finished(study: Study, request: Request) -> bool:
    """Whether the study has come to an end that `request` does not go beyond."""
    ended = study.fact("ended")
    return (
        ended is not None and request.trials <= ended["trials"] and request.confirm_seeds <= ended["confirm_seeds"]
    )


def limits_of(study: Study) -> Limits:
    """The resolved budget of a study."""
    return Limits(latency_ms=study.fact("budget_ms"), max_params=study.fact("inputs")["max_params"])


def _open(study: Study, request: Request, inputs: dict[str, object]) -> None:
    if study.fact("inputs") is None:
        study.set_fact("inputs", inputs)
    refuse_changes(study, inputs)
    study.set_fact("request", request.to_json())
    study.set_fact("versions", versions())


def _run(
    study: Study,
    request: Request,
    space: SearchSpace,
    dataset: Dataset,
    proxy: Proxy,
    timer: Timer,
    listener: Listener,
    interrupt: Interrupt,
) -> None:
    _keep_passport(study, timer.meter.passport)
    _resolve_budget(study, request, timer)
    limits = limits_of(study)
    runner = TrialRunner(
        study=study,
        space=space,
        evaluator=Evaluator(timer, dataset, proxy, limits, request.seed, listener),
        limits=limits,
        num_classes=len(dataset.classes),
        seed=request.seed,
        provenance={**versions(), "data": dataset.fingerprint, "passport": timer.meter.passport.digest},
        listener=listener,
    )
    listener.opened(study, request)
    run_baselines(runner, interrupt)
    why = search_candidates(runner, request, interrupt)
    confirm(runner, request.confirm_seeds, interrupt)
    if why is not None and not interrupt.requested:
        study.set_fact("ended", {"why": why, "trials": request.trials, "confirm_seeds": request.confirm_seeds})


def _keep_passport(study: Study, passport: Passport) -> None:
    """Latencies of two passports are never mixed in one study."""
    if study.fact("passport") is None:
        study.set_fact("passport", asdict(passport))
    if differences := passport.differences(study.passport):
        raise StudyConflict(
            f"study {study.name!r} has latencies of another device: {'; '.join(differences)}; "
            "go on where it was started, or use another --study name"
        )


def _resolve_budget(study: Study, request: Request, timer: Timer) -> None:
    """The budget in milliseconds, once: a later measurement would move the goal."""
    if study.fact("budget_ms") is None:
        budget = parse_budget(request.latency_budget)
        milliseconds = budget if isinstance(budget, float) else timer.measure(published(budget)).latency_ms
        study.set_fact("budget_ms", milliseconds)


@contextmanager
def _scratch(folder: Path) -> Iterator[Path]:
    """An empty folder for what need not outlast the driver; a killed one's is removed first."""
    scratch = folder / "scratch"
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
