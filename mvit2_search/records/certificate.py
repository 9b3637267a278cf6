"""What a check of a proxy was made with and what it observed: whether short trainings order architectures."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Self

from mvit2_search.arch import ArchConfig
from mvit2_search.errors import SpecError
from mvit2_search.records.latency import Latency
from mvit2_search.records.recipe import Recipe
from mvit2_search.records.study import DataInputs, StudyDevice
from mvit2_search.records.trial import MOST_TRIES

CheckPart = Literal["proxy", "truth"]

LEAST_CHECKED = 9  # networks: with fewer, even a perfect order could be chance


@dataclass(frozen=True, kw_only=True, slots=True)
class Band:
    """The latencies that matter, as shares of the budget."""

    low: float = 0.5
    high: float = 1.0

    def __post_init__(self) -> None:
        if not 0 <= self.low < self.high <= 10:
            raise SpecError(f"`band` {self.low:g} {self.high:g}: expected two shares, the lower one first")


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckInputs:
    """Everything that a certificate's numbers depend on.

    Attributes:
        training: settings of the proxy, as in `Inputs`.
        truth: settings of the longer trainings, in the same form.
        truth_data, truth_train: fingerprint of the images that these use, and how many are to train on.
        seed: of the draw and of the proxy's trainings.
        networks: so many are drawn.
    """

    space: Mapping[str, Any]
    data: DataInputs
    latency_budget: str
    band: Band
    training: Mapping[str, Any]
    truth: Mapping[str, Any]
    truth_data: str
    truth_train: int
    networks: int
    task: str
    formulation: str
    seed: int


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedNetwork:
    """An architecture of the band, and what is known of it without training.

    Attributes:
        published: its name, where it is a published width.
        settings: its value on each axis of the space; None for a published width outside of the space.
        synflow: logarithm of its SynFlow score.
    """

    arch: ArchConfig
    latency: Latency
    params: int
    macs: int
    synflow: float
    published: str | None = None
    settings: Mapping[str, Any] | None = None

    @property
    def name(self) -> str:
        return self.published or self.arch.key


@dataclass(frozen=True, kw_only=True, slots=True)
class CheckedScore:
    """The score of one training of the network `key`, or why there is none after so many `tries`."""

    key: str
    seed: int
    score: float | None
    failure: str = ""
    tries: int = 1

    @property
    def is_settled(self) -> bool:
        """Whether it is not trained again."""
        return self.score is not None or self.tries >= MOST_TRIES


@dataclass(frozen=True, kw_only=True, slots=True)
class Tuning:
    """Another proxy, tried on the networks of a check.

    Attributes:
        recipe: of its trainings.
        training: all of its settings.
        data: fingerprint of its images.
    """

    recipe: Recipe
    training: Mapping[str, Any]
    data: str
    scores: tuple[CheckedScore, ...] = ()

    @property
    def is_taught(self) -> bool:
        return "teacher" in self.training

    @property
    def pct(self) -> dict[str, float]:
        """What it says, by network."""
        return {one.key: one.score for one in self.scores if one.score is not None}


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """A check of a proxy as far as it has come.

    Attributes:
        versions: of the packages that the numbers depend on, when it began.
        networks: drawn before anything is trained; empty until then.
        proxy: with the seed of the inputs, on the selection images. Complete before the first of `truth`.
        truth: on the confirmation images.
        truth_seeds: of the longer trainings; may become more later.
        tunings: other settings of the proxy.
    """

    inputs: CheckInputs
    versions: Mapping[str, str]
    device_name: str
    device: StudyDevice
    truth_seeds: tuple[int, ...]
    networks: tuple[CheckedNetwork, ...] = ()
    proxy: tuple[CheckedScore, ...] = ()
    truth: tuple[CheckedScore, ...] = ()
    tunings: tuple[Tuning, ...] = ()

    def scores(self, part: CheckPart) -> tuple[CheckedScore, ...]:
        return self.proxy if part == "proxy" else self.truth

    def score(self, part: CheckPart, key: str, seed: int) -> CheckedScore | None:
        return next((one for one in self.scores(part) if (one.key, one.seed) == (key, seed)), None)

    def seeds(self, part: CheckPart) -> tuple[int, ...]:
        return (self.inputs.seed,) if part == "proxy" else self.truth_seeds

    def to_score(self, part: CheckPart) -> tuple[CheckedNetwork, ...]:
        """The networks that are trained for a part: for the truth, those that the proxy could train."""
        if part == "proxy":
            return self.networks
        return tuple(one for one in self.networks if one.arch.key in self.proxy_pct)

    @property
    def proxy_pct(self) -> dict[str, float]:
        """What the proxy says, by network."""
        return {one.key: one.score for one in self.proxy if one.score is not None}

    def is_done(self, part: CheckPart) -> bool:
        """Whether nothing of a part is left to train."""
        settled = {(one.key, one.seed) for one in self.scores(part) if one.is_settled}
        return all((one.arch.key, seed) in settled for one in self.to_score(part) for seed in self.seeds(part))

    @property
    def is_complete(self) -> bool:
        """Whether nothing is left to train."""
        return self.is_done("proxy") and self.is_done("truth")

    @property
    def proxy_images(self) -> int:
        """Training images that a short training draws; 0 where the proxy does not tell."""
        return _drawn(self.inputs.training, self.inputs.data.train)

    @property
    def truth_images(self) -> int:
        """The same of a longer training."""
        return _drawn(self.inputs.truth, self.inputs.truth_train)

    @property
    def failures(self) -> dict[str, str]:
        """Why networks have no score, by name."""
        names = {one.arch.key: one.name for one in self.networks}
        return {names[one.key]: one.failure for one in (*self.proxy, *self.truth) if one.score is None}

    def with_score(self, part: CheckPart, new: CheckedScore) -> Self:
        """The check with one more score, which takes the place of a failure."""
        others = [one for one in self.scores(part) if (one.key, one.seed) != (new.key, new.seed)]
        scores = (*others, new)
        return replace(self, proxy=scores) if part == "proxy" else replace(self, truth=scores)


def _drawn(settings: Mapping[str, Any], train: int) -> int:
    """By a training with these settings, of so many images."""
    return int(settings.get("epochs", 0)) * int(settings.get("images_per_epoch") or train)
