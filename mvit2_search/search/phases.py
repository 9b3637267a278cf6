"""The phases of a search: published widths, candidates, random control, confirmation.

The published widths: what the search has to beat, as far as they can be timed and trained here.

The search loop: candidates until enough are trained or none is left.

Random architectures of the same space, trained like the candidates: what the search has to leave behind.

The last step: the finalists once more, with fresh seeds, on images that the search never saw.

Round by round: one seed for all that is still racing, so that the differences are paired, and no further seed
for what is distinguishably worse than the best candidate (`confirmation.still_racing`). The published widths
around the budget get all seeds.
"""

import random
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace

from mvit2_search.analysis.confirmation import (
    Confirmed,
    bracketing_widths,
    choose_finalists,
    confirmations,
    still_racing,
)
from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.arch.cost import network_cost
from mvit2_search.errors import TrainingError
from mvit2_search.predict.guess import Guess
from mvit2_search.records import (
    Candidate,
    ConfirmationPlan,
    Control,
    Failed,
    Finished,
    Infeasible,
    Published,
    Score,
    Trial,
)
from mvit2_search.sampler.networks import Networks, distributions
from mvit2_search.search.events import Stop
from mvit2_search.search.proposals import Samplers, guess_from
from mvit2_search.search.request import Request
from mvit2_search.search.state import RUNNING, TrialRunner
from mvit2_search.space import draw_params
from mvit2_search.store import StoredStudy

_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]  # from the smallest


def run_published(runner: TrialRunner, stop: Stop) -> None:
    """Time the published widths up to the second beyond the limits; train those within and the first beyond.

    Those that the space can express are ordinary trials. Trials that are queued already, because a
    killed driver left them open, come first. The search goes on without a width that fails; a later start tries
    it again, unless it is given up.
    """
    before = _widths(runner.all_trials())
    for width, name in zip(PUBLISHED_WIDTHS, _NAMES, strict=True):
        _run_queued(runner, stop)
        if stop.requested or name not in _needed(runner.study, runner.all_trials()):
            continue
        known = _widths(runner.all_trials()).get(name)
        if known is not None and not (known.may_be_tried_again and known == before.get(name)):
            continue
        if (params := runner.space.encode_width(width)) is not None:
            runner.study.queue_published(name, params)
        else:
            runner.run(ArchConfig.mobilevitv2(width), Published(name), train_anyway=_is_wanted(runner, name))
    _run_queued(runner, stop)


def _run_queued(runner: TrialRunner, stop: Stop) -> None:
    while runner.study.queued() and not stop.requested:
        proposal = runner.study.ask(None, distributions(runner.space))
        name = proposal.role.name if isinstance(proposal.role, Published) else None
        runner.run_proposal(proposal, train_anyway=_is_wanted(runner, name))


def is_width_left(study: StoredStudy) -> bool:
    """Whether `run_published` would try a width again that failed."""
    trials = study.all_trials()
    widths = _widths(trials)
    return any(name in widths and widths[name].may_be_tried_again for name in _needed(study, trials))


def _needed(study: StoredStudy, trials: Sequence[Trial]) -> list[str]:
    """The widths up to the second beyond the limits: the line through them has to cross the budget.

    One that the device refuses counts as beyond if it is larger than all that are within, of which there has to be
    one: what comes after it is larger still.
    """
    limits, widths, budget = study.limits, _widths(trials), study.inputs.latency_budget
    known = [(i, widths[name]) for i, name in enumerate(_NAMES) if name in widths]
    within = [i for i, trial in known if limits.allow_trial(trial)]
    within += [i for i, name in enumerate(_NAMES) if name == budget]
    beyond = [i for i, trial in known if trial.latency is not None and not limits.allow_trial(trial)]
    beyond += [i for i, trial in known if within and i > max(within) and _is_refused(trial)]
    return _NAMES[: min(beyond) + 2] if beyond else _NAMES


def _is_refused(trial: Trial) -> bool:
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement"


def _is_wanted(runner: TrialRunner, name: str | None) -> bool:
    """Whether a published width is trained even if it is beyond the limits: all smaller ones are within them."""
    if name is None:
        return False
    known = _widths(runner.all_trials())
    smaller = _NAMES[: _NAMES.index(name)]
    return all(one in known and runner.limits.allow_trial(known[one]) for one in smaller)


def _widths(trials: Sequence[Trial]) -> dict[str, Trial]:
    """By name the published widths so far: the one that did not fail, else the last that did."""
    ordered = sorted(trials, key=lambda trial: not isinstance(trial.outcome, Failed))
    return {trial.published: trial for trial in ordered if trial.published is not None}


_MAX_BARREN = 30  # in a row


def search_candidates(runner: TrialRunner, request: Request, stop: Stop) -> str | None:
    """Run candidates until `request` is met or nothing is left to try.

    Returns:
        Why the search ended, in words; None where the same request would go on.

    Raises:
        MVit2SearchError: trials fail one after the other for the same reason.
    """
    networks = Networks(runner.space, runner.num_classes)
    samplers = Samplers(request.sampler, networks, runner, seed=request.seed)
    while not stop.requested:
        if sum(trial.is_trained_candidate for trial in runner.trials) >= request.trials:
            return f"the candidates asked for ({request.trials}) are trained"
        guess = guess_from(runner, runner.trials)
        if reason := _hopeless(runner, networks, guess):
            return reason
        _queue_kept(runner)
        runner.run_proposal(runner.study.ask(samplers.next(guess), distributions(runner.space)))
    return None


def _queue_kept(runner: TrialRunner) -> None:
    """Candidates whose accuracies another study keeps come first, in its order, each as soon as it is its turn."""
    tried = {trial.arch.key for trial in runner.trials}
    left = [params for key, params in runner.evaluator.kept.candidates.items() if key not in tried]
    if left and not runner.study.queued():
        runner.study.queue(left[0])


def _hopeless(runner: TrialRunner, networks: Networks, guess: Guess) -> str | None:
    """Why nothing more can come of the search, or None."""
    if networks.untried(runner.known, guess) == []:
        return "every network of the space that may fit the budget has been tried"
    cheapest = runner.known.get(networks.cheapest.key)
    if cheapest is not None and isinstance(cheapest.outcome, Infeasible):
        took = f"{cheapest.outcome.latency} and has {cheapest.params:,} parameters"
        return f"even the network at the low end of the space takes {took}"
    kept = runner.evaluator.kept.candidates
    last = [t for t in runner.trials if isinstance(t.role, Candidate) and t.arch.key not in kept][-_MAX_BARREN:]
    if len(last) == _MAX_BARREN and not any(t.is_trained_candidate for t in last):
        return f"of the last {_MAX_BARREN} candidates none was new, within the budget and trained"
    return None


_MAX_BARREN_DRAWS = 100  # timed draws in a row that came to nothing
_MAX_SKIPPED = 100_000  # draws in a row that are not worth timing, or were drawn before
_SURELY_OVER = 1.3  # times the limits by the guess from multiply-adds, which is hardly ever so far off


def run_control(runner: TrialRunner, count: int, stop: Stop) -> None:
    """Draw until `count` architectures within the limits are trained to the end.

    Draws follow from the study's seed and its published widths alone, so that a larger count goes on after a
    smaller; what was drawn before keeps its number. What is over the budget does not count; where multiply-adds
    tell, it is not even timed. A training that failed is tried again. No stopping rule ends them.
    """
    kept = {trial.arch.key: (index, trial) for index, trial in enumerate(runner.study.controls())}
    draws = _draws(runner)
    trained = barren = 0
    while trained < count and barren < _MAX_BARREN_DRAWS and not stop.requested:
        if (arch := next(draws, None)) is None:
            break
        index, trial = kept.get(arch.key, (len(kept), None))
        if trial is None or _is_worth_retrying(trial):
            trial = runner.run(arch, Control(index))
            kept[arch.key] = index, trial
        done = isinstance(trial.outcome, Finished)
        trained, barren = trained + done, 0 if done else barren + 1
    if trained < count and not stop.requested:
        runner.listener.note(f"{trained} of {count} random architectures trained: {_why(barren)}")


def _why(barren: int) -> str:
    if barren == _MAX_BARREN_DRAWS:
        return f"of the last {barren} drawn none was within the budget and trained"
    return f"{_MAX_SKIPPED:,} draws in a row were not new or far over the budget"


def _is_worth_retrying(trial: Trial) -> bool:
    """A device need not take every network of a space."""
    refused = isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement"
    return trial.may_be_tried_again and not refused


def _draws(runner: TrialRunner) -> Iterator[ArchConfig]:
    """Different architectures that may be within the limits, every axis drawn evenly, until none comes."""
    guess = guess_from(runner, [t for t in runner.trials if t.published])
    generator = random.Random(f"control {runner.seed}")
    seen: set[str] = set()
    skipped = 0
    while skipped < _MAX_SKIPPED:
        arch = runner.space.decode(draw_params(runner.space, generator))
        skipped += 1
        if arch.key not in seen and guess.share_of_limits(network_cost(arch, runner.num_classes)) <= _SURELY_OVER:
            skipped = 0
            seen.add(arch.key)
            yield arch


_FRESH = 1_000  # seeds of the confirmation start this far after the search's


def confirm(runner: TrialRunner, seeds: int, stop: Stop) -> bool:
    """Train the finalists with up to `seeds` fresh seeds; what is there is kept, what failed is tried again.

    Returns:
        Whether it came to its end.
    """
    widths = bracketing_widths(runner.all_trials(), runner.limits)
    first = runner.seed + _FRESH
    plan = _plan(runner, widths, range(first, first + seeds))
    for seed in plan.seeds:
        for trial in _left(runner.study, runner.trials, plan, seed):
            if stop.requested:
                return False
            _train(runner, trial, seed)
    return True


def is_anything_left(study: StoredStudy) -> bool:
    """Whether `confirm` would train again what failed."""
    plan = study.plan()
    if plan is None or not any(score.may_be_tried_again for score in study.scores()):
        return False
    trials = study.trials()
    return any(_left(study, trials, plan, seed) for seed in plan.seeds)


def _left(study: StoredStudy, trials: Sequence[Trial], plan: ConfirmationPlan, seed: int) -> list[Trial]:
    """What has no score of `seed` yet, or failed and is tried again: what is still racing, and the widths."""
    once = {t.arch.key: t for t in reversed(trials) if isinstance(t.outcome, Finished)}
    before = _confirmed(study, trials, before=seed, finalists=plan.keys)
    racing = {c.trial.arch.key for c in still_racing(before, images=_images(study, "confirmation"))}
    out = {c.trial.arch.key for c in before if not c.trial.published} - racing
    done = {(s.subject, s.seed) for s in study.scores() if not s.may_be_tried_again}
    candidates = [once[key] for key in plan.keys if key not in out]
    widths = bracketing_widths([*trials, *study.outside()], study.limits)
    return [t for t in [*candidates, *widths] if (t.arch.key, seed) not in done]


def _plan(runner: TrialRunner, widths: Collection[Trial], seeds: Collection[int]) -> ConfirmationPlan:
    """The finalists of all candidates so far, chosen once for as many as there are.

    Who was a finalist among fewer candidates and is none any more keeps its scores and is not compared. The choice
    is kept: later scores may tell more of how much a seed does, and would change it half-way.
    """
    kept, trained = runner.study.plan(), sum(t.is_trained_candidate for t in runner.trials)
    keys = kept.keys if kept is not None and kept.candidates == trained else _finalists(runner)
    plan = ConfirmationPlan(
        keys=keys, widths=tuple(t.arch.key for t in widths), seeds=tuple(seeds), candidates=trained
    )
    runner.study.set_fact("finalists", plan)
    return plan


def _finalists(runner: TrialRunner) -> tuple[str, ...]:
    images, confirmed = _images(runner.study, "selection"), _confirmed(runner.study, runner.trials)
    chosen = choose_finalists(runner.trials, runner.limits, images=images, confirmed=confirmed)
    return tuple(t.arch.key for t in chosen)


def _confirmed(
    study: StoredStudy,
    trials: Sequence[Trial],
    *,
    before: int | None = None,
    finalists: Collection[str] | None = None,
) -> list[Confirmed]:
    """What the scores say, or those of the seeds before one alone."""
    scores = [s for s in study.scores() if before is None or s.seed < before]
    return confirmations([*trials, *study.outside()], scores, finalists)


def _images(study: StoredStudy, part: str) -> int:
    return study.inputs.data.selection if part == "selection" else study.inputs.data.confirmation


def _train(runner: TrialRunner, trial: Trial, seed: int) -> None:
    """A score that says that it was interrupted is kept first, in case this process ends."""
    runner.listener.started(trial.name, trial.arch)
    before = [s.tries for s in runner.study.scores() if (s.subject, s.seed) == (trial.arch.key, seed)]
    score = Score(subject=trial.arch.key, seed=seed, result=RUNNING, tries=1 + sum(before))
    runner.study.add_score(score)
    score = _scored(runner, trial.arch, score)
    runner.study.add_score(score)
    runner.listener.scored(runner.study, score, trial.name)


def _scored(runner: TrialRunner, arch: ArchConfig, score: Score) -> Score:
    """`score` with what came of the training."""
    try:
        found = runner.evaluator.confirm(arch, score.seed)
    except TrainingError as err:
        return replace(score, result=Failed(reason="training", message=str(err)))
    return replace(score, result=found.accuracy_pct, balanced=found.balanced_pct)
