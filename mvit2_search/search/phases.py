"""The trials of a search, in this order: published widths, candidates, random architectures to compare with."""

import random
from collections.abc import Iterator, Sequence

from mvit2_search.arch import PUBLISHED_WIDTHS, ArchConfig, published_name
from mvit2_search.arch.cost import network_cost
from mvit2_search.predict.guess import Guess
from mvit2_search.records import (
    Candidate,
    Control,
    Failed,
    Finished,
    Infeasible,
    Published,
    Role,
    Trial,
)
from mvit2_search.sampler.optuna import Networks, distributions
from mvit2_search.search.events import Stop
from mvit2_search.search.proposals import Samplers, guess_from
from mvit2_search.search.request import Request
from mvit2_search.search.runner import Runner
from mvit2_search.space import draw_params
from mvit2_search.store import StoredStudy

# Published widths: what the search has to beat

_NAMES = [published_name(width) for width in PUBLISHED_WIDTHS]  # from the smallest


def run_published(runner: Runner, stop: Stop) -> None:
    """Time the published widths up to the second beyond the limits; train those within and the first beyond.

    One that the space can express is an ordinary trial. Trials that a killed search left in the queue come first.
    The search goes on without a width that fails; a later start tries it again, unless it is given up.
    """
    before = _widths(runner.state.all_trials())
    for width, name in zip(PUBLISHED_WIDTHS, _NAMES, strict=True):
        _run_queued(runner, stop)
        if stop.requested or name not in _needed(runner.study, runner.state.all_trials()):
            continue
        known = _widths(runner.state.all_trials()).get(name)
        if known is not None and not (known.may_be_tried_again and known == before.get(name)):
            continue
        if (params := runner.space.encode_width(width)) is not None:
            runner.study.queue(params, published=name)
        else:
            role = Published(name)
            runner.run(ArchConfig.mobilevitv2(width), role, train_anyway=_is_wanted(runner, role))
    _run_queued(runner, stop)


def _run_queued(runner: Runner, stop: Stop) -> None:
    while runner.study.queued() and not stop.requested:
        proposal = runner.study.ask(None, distributions(runner.space))
        runner.run_proposal(proposal, train_anyway=_is_wanted(runner, proposal.role))


def is_width_left(study: StoredStudy) -> bool:
    """Whether `run_published` would try a width again that failed."""
    trials = study.all_trials()
    widths = _widths(trials)
    return any(name in widths and widths[name].may_be_tried_again for name in _needed(study, trials))


def _needed(study: StoredStudy, trials: Sequence[Trial]) -> list[str]:
    """The widths up to the second beyond the limits, so that the line through them crosses the budget.

    A width that the device refuses counts as beyond if it is larger than all that are within, and there is one:
    those after it are larger still.
    """
    limits, widths, budget = study.limits, _widths(trials), study.inputs.latency_budget
    known = [(i, widths[name]) for i, name in enumerate(_NAMES) if name in widths]
    within = [i for i, trial in known if limits.allow_trial(trial)]
    within += [i for i, name in enumerate(_NAMES) if name == budget]
    beyond = [i for i, trial in known if trial.latency is not None and not limits.allow_trial(trial)]
    beyond += [i for i, trial in known if within and i > max(within) and _is_refused(trial)]
    return _NAMES[: min(beyond) + 2] if beyond else _NAMES


def _is_refused(trial: Trial) -> bool:
    """Whether the device could not time it: a device need not take every network."""
    return isinstance(trial.outcome, Failed) and trial.outcome.reason == "measurement"


def _is_wanted(runner: Runner, role: Role) -> bool:
    """Whether it is trained even beyond the limits: it is a published width, and all smaller ones are within."""
    if not isinstance(role, Published):
        return False
    known = _widths(runner.state.all_trials())
    smaller = _NAMES[: _NAMES.index(role.name)]
    return all(one in known and runner.state.limits.allow_trial(known[one]) for one in smaller)


def _widths(trials: Sequence[Trial]) -> dict[str, Trial]:
    """The published widths so far by name: the trial that did not fail, else the last that did."""
    ordered = sorted(trials, key=lambda trial: not isinstance(trial.outcome, Failed))
    return {trial.published: trial for trial in ordered if trial.published is not None}


# Candidates

_MAX_BARREN = 30  # candidates in a row that come to nothing


def search_candidates(runner: Runner, request: Request, stop: Stop) -> str | None:
    """Run candidates until so many are trained as `request` asks for, or nothing is left to try.

    Gives why the search ended, in words; None where the same request would go on. Raises what `Runner.run` does.
    """
    networks = Networks(runner.space, runner.head)
    samplers = Samplers(request.sampler, networks, runner, seed=request.seed)
    while not stop.requested:
        if runner.state.count_candidates() >= request.trials:
            return f"the candidates asked for ({request.trials}) are trained"
        guess = guess_from(runner, runner.state.all_trials())
        if reason := _hopeless(runner, networks, guess):
            return reason
        _queue_kept(runner)
        runner.run_proposal(runner.study.ask(samplers.next(guess), distributions(runner.space)))
    return None


def _queue_kept(runner: Runner) -> None:
    """Queue the next candidate whose accuracies another study has: those come first, in its order."""
    tried = {trial.arch.key for trial in runner.state.trials}
    left = [params for key, params in runner.state.kept.candidates.items() if key not in tried]
    if left and not runner.study.queued():
        runner.study.queue(left[0])


def _hopeless(runner: Runner, networks: Networks, guess: Guess) -> str | None:
    """Why nothing more can come of the search, or None."""
    state = runner.state
    if networks.untried(state.known, guess) == []:
        return "every network of the space that may fit the budget has been tried"
    cheapest = state.known.get(networks.cheapest.key)
    if cheapest is not None and isinstance(cheapest.outcome, Infeasible):
        took = f"{cheapest.outcome.latency} and has {cheapest.params:,} parameters"
        return f"even the network at the low end of the space takes {took}"
    kept = state.kept.candidates
    last = [t for t in state.trials if isinstance(t.role, Candidate) and t.arch.key not in kept][-_MAX_BARREN:]
    if len(last) == _MAX_BARREN and not any(t.is_trained_candidate for t in last):
        return f"of the last {_MAX_BARREN} candidates none was new, within the budget and trained"
    return None


# Random architectures of the same space, trained like the candidates: what the search has to leave behind

_MAX_BARREN_DRAWS = 100  # timed draws in a row that come to nothing
_MAX_SKIPPED = 100_000  # draws in a row that are not worth timing, or were drawn before
_SURELY_OVER = 1.3  # times the limits, guessed from multiply-adds: hardly any guess is so far off


def run_control(runner: Runner, count: int, stop: Stop) -> None:
    """Draw until `count` architectures within the limits are trained to the end.

    The draws follow from the study's seed and published widths alone. So a larger count goes on after a smaller
    one, and what was drawn keeps its number. What is over the budget does not count. A training that failed is
    tried again; none is stopped early.
    """
    drawn = {trial.arch.key: (index, trial) for index, trial in runner.state.controls.items()}
    draws = _draws(runner)
    trained = barren = 0
    while trained < count and barren < _MAX_BARREN_DRAWS and not stop.requested:
        if (arch := next(draws, None)) is None:
            break
        index, trial = drawn.get(arch.key, (len(drawn), None))
        if trial is None or (trial.may_be_tried_again and not _is_refused(trial)):
            trial = runner.run(arch, Control(index))
            drawn[arch.key] = index, trial
        done = isinstance(trial.outcome, Finished)
        trained, barren = trained + done, 0 if done else barren + 1
    if trained < count and not stop.requested:
        why = f"{_MAX_SKIPPED:,} draws in a row were not new or far over the budget"
        if barren == _MAX_BARREN_DRAWS:
            why = f"of the last {barren} drawn none was within the budget and trained"
        runner.listener.note(f"{trained} of {count} random architectures trained: {why}")


def _draws(runner: Runner) -> Iterator[ArchConfig]:
    """Different architectures that may be within the limits, every axis drawn evenly, until none comes."""
    guess = guess_from(runner, [t for t in runner.state.all_trials() if t.published])
    generator = random.Random(f"control {runner.seed}")
    seen: set[str] = set()
    skipped = 0
    while skipped < _MAX_SKIPPED:
        arch = runner.space.decode(draw_params(runner.space, generator))
        skipped += 1
        if arch.key not in seen and guess.share_of_limits(network_cost(arch, runner.head)) <= _SURELY_OVER:
            skipped = 0
            seen.add(arch.key)
            yield arch
