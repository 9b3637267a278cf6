"""Which certificate holds for a search: one of the same images, space, budget, trainings, device and versions."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mvit2_search.analysis.checked import findings_of
from mvit2_search.records import CertificateOf
from mvit2_search.records.certificate import Check
from mvit2_search.search.certify import BOUND_TO
from mvit2_search.store import StoredStudy
from mvit2_search.store.certificates import all_checks


def fitting_certificate(study: StoredStudy, results: Path, tell: Callable[[str], None]) -> CertificateOf | None:
    """Of those in `results` that hold for a study, the one with the most seeds and the longest truth.

    None for a study with a limit of parameters, which no check has. `tell` hears of damaged ones.
    """
    if study.inputs.max_params is not None:
        return None
    wanted = _bound_to(study.inputs, study.device.passport.digest, study.fact("versions"))
    found = [
        (folder.name, check)
        for folder, check in all_checks(results, tell)
        if check.is_complete
        and check.inputs.band.low < 1 <= check.inputs.band.high
        and _bound_to(check.inputs, check.device.passport.digest, check.versions) == wanted
    ]
    strongest = sorted(found, key=lambda one: _strength(one[1]), reverse=True)
    return next((one for name, check in strongest if (one := _certificate(name, check))), None)


def _strength(check: Check) -> tuple[int, int, int]:
    return len(check.truth_seeds), check.truth_images, len(check.networks)


def _certificate(name: str, check: Check) -> CertificateOf | None:
    if (found := findings_of(check)) is None:
        return None
    return CertificateOf(study=name, verdict=found.verdict, sentence=found.sentence)


def _bound_to(inputs: Any, passport: str, versions: Mapping[str, str]) -> tuple[object, ...]:
    """What a search and a certificate have to have in common; both kinds of inputs name it alike."""
    return (
        {name: value for name, value in inputs.space.items() if name != "name"},
        inputs.data.fingerprint,
        inputs.latency_budget,
        dict(inputs.training),
        inputs.formulation,
        inputs.task,
        passport,
        [versions.get(name) for name in BOUND_TO],
    )
