"""A check whose longer trainings are the full ones that `mvit2-search train` wrote back into a study."""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.models.synflow import synflow
from mvit2_search.records import Finished, Trial
from mvit2_search.records.certificate import LEAST_CHECKED, Band, Check, CheckedNetwork, CheckedScore, CheckInputs
from mvit2_search.store import StoredStudy, driver_lock, open_study
from mvit2_search.store.certificates import certificate_path, read_check, write_check
from mvit2_search.task import make_task

_LEAST_SEEDS = 2
_TRAINED = "trained by"  # in the truth's settings, where no check of drawn networks has it
_EVERYTHING = Band(low=0.0, high=10.0)

Kind = tuple[str, int, int, str]  # images, epochs, pixels and first weights of full trainings
Scores = dict[str, dict[int, float]]  # by network and seed


def check_trained(folder: Path) -> Check:
    """Keep and give the check of a study: its short trainings against full ones of the same networks.

    These networks were not drawn: a search chose most of them for their short trainings, so they are more alike
    than those of the space, and a tau among them is lower.

    Raises:
        SpecError: there is no study, or it has too few full trainings of one kind.
        StudyConflict: another process holds it.
        StorageError: it cannot be read, or the folder not be written.
    """
    open_study(folder)  # before the lock, which makes the folder
    with driver_lock(folder):
        _refuse_drawn(folder)
        study = open_study(folder)
        short = {t.arch.key: t for t in study.all_trials() if isinstance(t.outcome, Finished)}
        kind, scores = _fullest(study, short)
        check = _check(study, short, kind, scores)
        write_check(folder, check)
    return check


def _refuse_drawn(folder: Path) -> None:
    """Raises StudyConflict where a check lies there that trained its own networks: hours would be lost."""
    kept = read_check(folder)
    if kept is not None and _TRAINED not in kept.inputs.truth:
        raise StudyConflict(
            f"{certificate_path(folder)} is of a check with trainings of its own; move it away to replace it"
        )


def _fullest(study: StoredStudy, short: Mapping[str, Trial]) -> tuple[Kind, Scores]:
    """The kind of full training that most networks have, and their scores with the seeds that all of them have."""
    kinds: dict[Kind, Scores] = defaultdict(lambda: defaultdict(dict))
    for one in study.trainings():
        if one.key in short:
            kinds[one.data, one.epochs, one.image_size, one.init or ""][one.key][one.seed] = one.score
    usable = {kind: _with_common_seeds(scores) for kind, scores in kinds.items()}
    kind = max(usable, key=lambda one: len(usable[one]), default=None)
    if kind is None or len(usable[kind]) < LEAST_CHECKED:
        most = 0 if kind is None else len(usable[kind])
        raise SpecError(
            f"study {study.name!r}: {most} networks have {_LEAST_SEEDS} full trainings alike but for their seeds; "
            f"a check needs {LEAST_CHECKED}; `mvit2-search train {study.name}:TRIAL` and another `seed` adds one"
        )
    return kind, usable[kind]


def _with_common_seeds(scores: Scores) -> Scores:
    """Of the networks with two seeds or more, the scores with seeds that all of them have; else nothing."""
    some = {key: by_seed for key, by_seed in scores.items() if len(by_seed) >= _LEAST_SEEDS}
    common = set.intersection(*map(set, some.values())) if some else set()
    if len(common) < _LEAST_SEEDS:
        return {}
    return {key: {seed: by_seed[seed] for seed in sorted(common)} for key, by_seed in some.items()}


def _check(study: StoredStudy, short: Mapping[str, Trial], kind: Kind, scores: Scores) -> Check:
    inputs, (data, epochs, image_size, init), settings = study.inputs, kind, study.settings()
    head = make_task(inputs.task, inputs.data.classes).head
    ((name, device),) = study.devices.items()
    networks, proxy = [], []
    for key in scores:
        trial = short[key]
        assert isinstance(trial.outcome, Finished)
        assert trial.latency is not None
        networks.append(
            CheckedNetwork(
                arch=trial.arch,
                latency=trial.latency,
                params=trial.params,
                macs=trial.macs,
                synflow=synflow(trial.arch, head),
                published=trial.published,
                settings=None if trial.number is None else settings[trial.number],
            )
        )
        proxy.append(CheckedScore(key=key, seed=inputs.seed, score=trial.outcome.score))
    return Check(
        inputs=CheckInputs(
            space=inputs.space,
            data=inputs.data,
            latency_budget=inputs.latency_budget,
            band=_EVERYTHING,
            training=inputs.training,
            truth={_TRAINED: "train", "data": data, "epochs": epochs, "image_size": image_size, "init": init},
            truth_data=data,
            truth_train=0,
            networks=len(networks),
            task=inputs.task,
            formulation=inputs.formulation,
            seed=inputs.seed,
        ),
        versions=study.fact("versions"),
        device_name=name,
        device=device,
        truth_seeds=tuple(next(iter(scores.values()))),
        networks=tuple(networks),
        proxy=tuple(proxy),
        truth=tuple(
            CheckedScore(key=key, seed=seed, score=score)
            for key, by_seed in scores.items()
            for seed, score in by_seed.items()
        ),
    )
