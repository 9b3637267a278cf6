"""Which certificate holds for a search: one of the same images, space, budget, trainings, device and versions."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mvit2_search.analysis.checked import findings_of
from mvit2_search.records import CertificateOf
from mvit2_search.records.certificate import Check
from mvit2_search.search.certify import BOUND_TO
from mvit2_search.store import StoredStudy
from mvit2_search.store.certificates import all_checks


def fitting_certificate(study: StoredStudy, results: Path) -> CertificateOf | None:
    """The first complete one in `results` that holds for a study."""
    wanted = _bound_to(study.inputs, study.device.passport.digest, study.fact("versions"))
    for folder, check in all_checks(results):
        if check.is_complete and _bound_to(check.inputs, check.device.passport.digest, check.versions) == wanted:
            return _certificate(folder.name, check)
    return None


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
