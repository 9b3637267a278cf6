"""The scale of a study's latencies and its budget: found out once, when it begins, and kept."""

from dataclasses import replace
from typing import Any

from mvit2_search.arch import published
from mvit2_search.errors import MeasurementError
from mvit2_search.measure.devices.registry import default_device
from mvit2_search.measure.source import Latencies
from mvit2_search.records import BudgetNetwork, Latency, Measurement, StudyDevice
from mvit2_search.search.device_change import refuse_other_device
from mvit2_search.search.events import Listener
from mvit2_search.search.request import Request, parse_budget
from mvit2_search.store import Study


def settle_budget(study: Study, request: Request, latencies: Latencies, listener: Listener) -> Latencies:
    """Give a new study its scale and its budget.

    Returns:
        The latencies, but for the network that gives the budget: it takes just that, so that it is within it, and
        is not measured again.

    Raises:
        StudyConflict: the study has latencies of another device.
        MeasurementError: the network that gives the budget has no latency.
    """
    _keep_scale(study, request, latencies)
    if study.device.budget_ms is None:
        _keep_budget(study, request, latencies, listener)
    if (network := study.device.budget_network) is None:
        return latencies
    return replace(latencies, of=lambda arch: network.latency if arch.key == network.key else latencies.of(arch))


def _keep_scale(study: Study, request: Request, latencies: Latencies) -> None:
    """All latencies of a study are of one device and multiples of one reference time."""
    if not study.devices:
        name = default_device() if request.device == "auto" else request.device
        device = StudyDevice(passport=latencies.passport, reference_ms=latencies.reference_ms)
        study.set_fact("devices", {name: device})
    refuse_other_device(study, latencies.passport)


def _keep_budget(study: Study, request: Request, latencies: Latencies, listener: Listener) -> None:
    """In milliseconds: a later measurement of a network that gives it would move the goal."""
    budget = parse_budget(request.latency_budget)
    if not isinstance(budget, str):
        _change_device(study, budget_ms=budget)
        return
    latency = _latency_of(study, budget, latencies)
    if isinstance(latency, Measurement) and latency.flags:
        listener.note(f"the budget is not sure: {budget} takes {latency}")
    network = BudgetNetwork(key=published(budget).key, latency=latency)
    _change_device(study, budget_ms=latency.latency_ms, budget_network=network)


def _change_device(study: Study, **changes: Any) -> None:
    ((name, device),) = study.devices.items()
    study.set_fact("devices", {name: replace(device, **changes)})


def _latency_of(study: Study, name: str, latencies: Latencies) -> Latency:
    arch = published(name)
    try:
        with study.probing(arch.key):
            return latencies.of(arch)
    except MeasurementError as err:
        raise MeasurementError(
            f"the network that gives the budget, {name}, has no latency here: {err}; give a new `study` and its "
            "`latency_budget` as a time such as 12ms, or by another published network"
        ) from err
