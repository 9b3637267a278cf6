"""Stand-ins that make a whole search take a second: a scripted device, a formula for a proxy."""

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any, Literal

from mvit2_search.api import keep_training
from mvit2_search.arch import ArchConfig
from mvit2_search.arch.cost import network_cost
from mvit2_search.arch.head import ClassifierHead, Head
from mvit2_search.errors import TrainingError
from mvit2_search.export.untrained import Written
from mvit2_search.export.verify import Agreement
from mvit2_search.measure.devices.scripted import ScriptedDevice
from mvit2_search.predict.estimate import Estimate
from mvit2_search.records import (
    Artifact,
    Failed,
    Finished,
    FullTraining,
    Infeasible,
    Measurement,
    Outcome,
    Recipe,
    Trial,
)
from mvit2_search.search.driver import run_search
from mvit2_search.search.events import Listener
from mvit2_search.search.request import Request
from mvit2_search.space import SearchSpace
from mvit2_search.store import StoredStudy, open_study
from mvit2_search.system.signals import Interrupt
from mvit2_search.task.data.dataset import Dataset
from mvit2_search.train.proxies import EpochScore

MS_PER_GMAC = 20.0
AGREES = Agreement(images=1, max_error=0.0, cosine=1.0, same_top1=1, weights_share=None, gates=())


def written(artifact: Artifact) -> Written:
    """What an exporter gives, of a file that agrees with its network."""
    return Written(artifact=artifact, verify=lambda: AGREES)


def fake_exporter(
    arch: ArchConfig, folder: Path, *, format: str, head: Head, formulation: str, **_: Any
) -> Written:
    """Writes a file that holds the architecture instead of a network, and compares nothing."""
    path = folder / f"{arch.key}.{format}"
    path.write_text(json.dumps(arch.to_json()))
    shape = (1, 3, arch.image_size, arch.image_size)
    return written(
        Artifact(
            path=path,
            sha256=f"{arch.key}-{head.classes}-{formulation}",
            format=format,
            precision="float32",
            input_name="image",
            input_shape=shape,
            output_shape=(1, head.classes),
        )
    )


def macs_device(chip: str = "scripted chip") -> ScriptedDevice:
    """20 ms per thousand million multiply-adds, always the same."""

    @cache
    def milliseconds(path: Path) -> float:
        arch = ArchConfig.from_json(json.loads(path.read_text()))
        return MS_PER_GMAC * network_cost(arch).macs / 1e9

    return ScriptedDevice(script=lambda artifact, _: milliseconds(artifact.path), chip=chip)


def scattered_device():
    """Up to twice as slow as multiply-adds say, for no reason that anything could predict."""

    def milliseconds(artifact, _):
        arch = ArchConfig.from_json(json.loads(artifact.path.read_text()))
        return MS_PER_GMAC * network_cost(arch).macs / 1e9 * (1 + int(arch.key, 16) % 101 / 100)

    return ScriptedDevice(script=milliseconds)


class FormulaProxy:
    """Accuracy grows with parameters; the seed adds up to 0.3 points. Counts its trainings."""

    def __init__(self, fails: bool = False) -> None:
        self.fails = fails
        self.trained: list[tuple[str, int, str]] = []

    def run(
        self, arch: ArchConfig, dataset: Dataset, *, seed: int, test_on: Literal["selection", "confirmation"]
    ) -> Iterator[EpochScore]:
        self.trained.append((arch.key, seed, test_on))
        if self.fails:
            raise TrainingError("the loss is not finite in epoch 1")
        params = network_cost(arch, ClassifierHead(len(dataset.classes))).params
        accuracy = 90 - 20 * (1e6 / (1e6 + params)) + int(arch.key, 16) % 7 * seed % 3 / 10
        yield EpochScore(epoch=1, score=accuracy / 2)
        yield EpochScore(epoch=2, score=accuracy)

    def blind_spots(self, space: SearchSpace) -> list[str]:
        return []

    def settings(self) -> dict[str, Any]:
        return {"proxy": "formula"}


def request(folder: Path, **changes: Any) -> Request:
    """A search that ends after four candidates, all trained to the end."""
    asked = Request(
        space="blocks",
        data=str(folder / "images"),
        latency_budget="mobilevitv2-0.75",
        study="test",
        stopping="none",
        trials=4,
        confirm_seeds=2,
        recipe=Recipe(image_size=32),
        results=folder / "results",
    )
    return replace(asked, **changes)


def search(
    asked: Request,
    *,
    device: ScriptedDevice | Estimate | None = None,
    proxy: FormulaProxy | None = None,
    listener: Listener | None = None,
    interrupt: Interrupt | None = None,
) -> StoredStudy:
    """The study of a search that has run, by default on the scripted device and with the formula."""
    run_search(
        asked,
        listener or Listener(),
        interrupt or Interrupt(),
        source=device or macs_device(),
        proxy=proxy or FormulaProxy(),
        exporter=fake_exporter,
    )
    return open_study(asked.folder)


def measurement(latency_ms: float = 10.0, **changes: Any) -> Measurement:
    """A settled measurement within 1 %."""
    whole = Measurement(
        artifact_sha256="0" * 64,
        passport="0" * 12,
        latency_ms=latency_ms,
        low_ms=0.99 * latency_ms,
        high_ms=1.01 * latency_ms,
        p10_ms=0.98 * latency_ms,
        p90_ms=1.02 * latency_ms,
        pairs=20,
        unit=1,
        visits=2,
        set_aside=0,
        placement=(),
        reference_ms=10.0,
        reference_now_ms=10.1,
        load_ms=5.0,
        measured_at="2026-01-01T00:00:00+00:00",
        flags=(),
    )
    return replace(whole, **changes)


def finished(accuracy_pct: float, latency_ms: float) -> Finished:
    return Finished(
        score=accuracy_pct, curve=(accuracy_pct / 2, accuracy_pct), latencies={"host": measurement(latency_ms)}
    )


def trial(number: int | None, outcome: Outcome | None = None, **changes: Any) -> Trial:
    """A trial whose architecture differs from every other number's."""
    whole = Trial(
        number=number,
        arch=ArchConfig.mobilevitv2(0.5 + (number or 0) / 8),
        outcome=outcome or finished(70.0, 10.0),
        params=1_000_000,
        macs=500_000_000,
        seed=0,
        seconds=1.5,
        provenance={"torch": "2.13.0"},
    )
    return replace(whole, **changes)


OUTCOMES: list[Outcome] = [
    finished(71.5, 12.0),
    Infeasible(latencies={"host": measurement(40.0, flags=("unsettled", "slow"))}),
    Failed(reason="training", message="the loss is not finite in epoch 1"),
]


def full_training(key: str, seed: int, score: float, **changes: Any) -> FullTraining:
    """A result that `train` writes back into a study."""
    whole = FullTraining(
        key=key,
        inputs=f"{key[:6]}{seed:06}",
        data="images",
        seed=seed,
        init=None,
        epochs=40,
        image_size=64,
        epoch=38,
        score=score,
        images=300,
        folder="trained",
    )
    return replace(whole, **changes)


def keep_full_trainings(study: StoredStudy, seeds: tuple[int, ...] = (0, 1)) -> None:
    """Every network of a study that was trained gets full trainings, which order them as the short ones do."""
    for trial in study.all_trials():
        if isinstance(trial.outcome, Finished):
            for seed in seeds:
                keep_training(study.folder, full_training(trial.arch.key, seed, trial.outcome.score + seed / 10))
