"""From the records of a check to its certificate."""

from collections.abc import Mapping, Sequence
from typing import Any

from mvit2_search.analysis.certificate import Findings, Tested, certify
from mvit2_search.records import CertificateOf
from mvit2_search.records.certificate import LEAST_CHECKED, Check, CheckedNetwork

_NONE = (
    "No certificate says whether this proxy orders networks on these images. `mvit2-search proxy check` "
    "with the same options makes one for short trainings."
)


def findings_of(check: Check, scores: Mapping[str, float] | None = None) -> Findings | None:
    """What a check says; None while too few networks have all their scores.

    Args:
        scores: by network, of another proxy instead of the check's own.
    """
    proxy = check.proxy_pct if scores is None else scores
    truth = truth_pct(check)
    networks = [one for one in check.networks if one.arch.key in truth and one.arch.key in proxy]
    if len(networks) < LEAST_CHECKED:
        return None
    return certify(
        Tested(
            proxy_N=tuple(proxy[one.arch.key] for one in networks),
            truth_NS=tuple(truth[one.arch.key] for one in networks),
            latency_ms_N=tuple(one.latency.latency_ms for one in networks),
            baselines={
                "parameters": tuple(float(one.params) for one in networks),
                "multiply-adds": tuple(float(one.macs) for one in networks),
                "latency": tuple(one.latency.latency_ms for one in networks),
                "SynFlow": tuple(one.synflow for one in networks),
            },
            axes={
                name: tuple(_place(one, name, values) for one in networks)
                for name, values in check.inputs.space["axes"].items()
            },
        )
    )


def truth_pct(check: Check) -> dict[str, tuple[float, ...]]:
    """The scores of the longer trainings by network, in order of seed, of those that have all of them."""
    by_seed = {(one.key, one.seed): one.score for one in check.truth}
    found: dict[str, tuple[float, ...]] = {}
    for network in check.networks:
        scores = [by_seed.get((network.arch.key, seed)) for seed in check.seeds("truth")]
        known = tuple(score for score in scores if score is not None)
        if len(known) == len(scores):
            found[network.arch.key] = known
    return found


def _place(network: CheckedNetwork, axis: str, values: Sequence[Any] | Mapping[str, Any]) -> float | None:
    """Its value on an axis; of words, the place in the list."""
    if network.settings is None:
        return None
    value = network.settings[axis]
    return float(list(values).index(value)) if isinstance(value, str) else float(value)


def certificate_sentence(certificate: CertificateOf | None) -> str:
    """What the user of a search is told of its short trainings."""
    if certificate is None:
        return _NONE
    return f"Short trainings: {certificate.verdict} (certificate {certificate.study}). {certificate.sentence}"
