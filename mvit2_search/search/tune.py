"""The cheapest short training that orders the networks of a finished check well enough."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product

from mvit2_search.analysis.certificate import Findings
from mvit2_search.analysis.checked import findings_of
from mvit2_search.errors import SpecError, StudyConflict
from mvit2_search.execute.inline import InlineExecutor
from mvit2_search.execute.protocol import TrainingJob
from mvit2_search.measure.source import LatencySource
from mvit2_search.records import Recipe
from mvit2_search.records.certificate import Check, CheckedScore, Tuning
from mvit2_search.search.certify import trained_score
from mvit2_search.search.events import Listener, Stop
from mvit2_search.search.request import Request
from mvit2_search.search.tools import Tools, budget_text
from mvit2_search.store import driver_lock
from mvit2_search.store.certificates import certificate_path, read_check, write_check
from mvit2_search.system.signals import Interrupt
from mvit2_search.train.proxies import ShortTrain


@dataclass(frozen=True, kw_only=True, slots=True)
class TuneRequest:
    """One call of `mvit2-search proxy tune`.

    Attributes:
        search: as for the check; with a teacher, each setting is tried with it too.
        target_tau: that the order of a setting has to reach.
        epochs, images, pixels: values to try, in all combinations; images are those of an epoch.

    Raises:
        SpecError: a setting is out of range.
    """

    search: Request
    target_tau: float
    epochs: tuple[int, ...]
    images: tuple[int, ...]
    pixels: tuple[int, ...]

    def __post_init__(self) -> None:
        if not -1 <= self.target_tau <= 1:
            raise SpecError(f"`target_tau` {self.target_tau:g}: expected from -1 to 1")
        self.recipes()

    def recipes(self) -> list[Recipe]:
        """What is tried, the cheapest first: a step costs about as much as it has pixels."""
        found = [
            replace(self.search.recipe, epochs=epochs, images_per_epoch=images, image_size=pixels)
            for epochs, images, pixels in product(self.epochs, self.images, self.pixels)
        ]
        return sorted(found, key=price)


def price(recipe: Recipe) -> int:
    """Pixels of all training images together."""
    assert recipe.images_per_epoch is not None
    return recipe.epochs * recipe.images_per_epoch * recipe.image_size**2


Tried = tuple[Tuning, Findings | None]  # the findings are None where too few networks could be trained


def reaches(one: Tried, target_tau: float) -> bool:
    """Whether a setting orders networks well enough."""
    return one[1] is not None and one[1].tau.value >= target_tau


def run_tuning(
    request: TuneRequest, listener: Listener, interrupt: Interrupt, *, source: LatencySource | None = None
) -> tuple[list[Tried], bool]:
    """Try settings, the cheapest first, until one reaches the target.

    Gives all that have been tried, and whether it was stopped before the next one had all its scores. May be
    stopped at any time, like a check. Scores that are there are used again.

    Raises:
        SpecError: there is no finished check in the folder.
        StudyConflict: it is one of other images or another space, or another process holds the folder.
    """
    asked, stop = request.search, Stop(interrupt, request.search.max_hours)
    tools = Tools(asked, interrupt, source)
    found: list[Tried] = []
    with driver_lock(asked.folder):
        tuner = _Tuner(_finished_check(asked, tools), tools, listener, stop)
        for proxy in _proxies(request, tools):
            if (tuning := tuner.tried(proxy)) is None:
                return found, True
            found.append((tuning, findings_of(tuner.check, tuning.pct)))
            if reaches(found[-1], request.target_tau):
                break
    return found, False


def _finished_check(asked: Request, tools: Tools) -> Check:
    check, path = read_check(asked.folder), certificate_path(asked.folder)
    if check is None or not check.is_complete:
        state = "is missing" if check is None else "is not finished"
        raise SpecError(f"{path} {state}; `mvit2-search proxy check` with `study` {asked.study} makes it")
    for what, then, now in (
        ("another space", check.inputs.space["axes"], tools.space_inputs()["axes"]),
        ("another budget", check.inputs.latency_budget, budget_text(asked.latency_budget)),
        ("other images", check.inputs.data.fingerprint, tools.images().fingerprint),
    ):
        if then != now:
            raise StudyConflict(f"{path} was made with {what}; use those, or another `study` name")
    return check


def _proxies(request: TuneRequest, tools: Tools) -> Iterator[ShortTrain]:
    """What is tried: without a teacher, then with one where there is one."""
    for recipe in request.recipes():
        yield ShortTrain(recipe, tools.train_device, between=tools.interrupt.check)
        if tools.taught:
            yield tools.short_train(recipe)


class _Tuner:
    """Scores the networks of a check by other proxies, and keeps each score."""

    def __init__(self, check: Check, tools: Tools, listener: Listener, stop: Stop) -> None:
        self.check, self._tools, self._listener, self._stop = check, tools, listener, stop

    def tried(self, proxy: ShortTrain) -> Tuning | None:
        """With the scores of all networks; None where the process is asked to stop before."""
        tuning = self._known(proxy)
        done = {one.key for one in tuning.scores if one.is_settled}
        left = [one for one in self.check.networks if one.arch.key not in done]
        if not left:
            return tuning
        self._listener.phase(f"trying {proxy.recipe.epochs} epochs of {proxy.recipe.images_per_epoch} images")
        dataset = self._tools.images(proxy.recipe)
        tuning = replace(tuning, data=dataset.fingerprint)
        executor = InlineExecutor(proxy, dataset)
        for network in left:
            if self._stop.requested:
                return None
            job = TrainingJob(
                arch=network.arch,
                training=tuning.training,
                seed=self.check.inputs.seed,
                part="selection",
                data=dataset.fingerprint,
            )
            score = trained_score(executor, job, network.name, "tried", self._listener, self._tools.interrupt)
            tuning = _with_score(tuning, score)
            self._keep(tuning)
        return tuning

    def _known(self, proxy: ShortTrain) -> Tuning:
        """What is there of a proxy: of this command, or the check's own."""
        settings = proxy.settings()
        for tuning in self.check.tunings:
            if tuning.training == settings:
                return tuning
        inputs = self.check.inputs
        own = self.check.proxy if inputs.training == settings else ()
        return Tuning(recipe=proxy.recipe, training=settings, data=inputs.data.fingerprint, scores=own)

    def _keep(self, tuning: Tuning) -> None:
        others = [one for one in self.check.tunings if one.training != tuning.training]
        self.check = replace(self.check, tunings=(*others, tuning))
        write_check(self._tools.request.folder, self.check)


def _with_score(tuning: Tuning, new: CheckedScore) -> Tuning:
    """One more; a failure counts how often it was tried."""
    before = next((one.tries for one in tuning.scores if one.key == new.key), 0)
    others = [one for one in tuning.scores if one.key != new.key]
    return replace(tuning, scores=(*others, replace(new, tries=before + 1)))
