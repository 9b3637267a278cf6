"""Latencies on a phone that is not at hand, estimated from the figures that the authors of MobileViTv2 print.

They print only a handful, of networks that differ in width alone. So an estimate refuses networks of another kind
or size, and its interval spans every form of latency law that fits the figures about as well.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache

import numpy as np
from scipy.special import stdtrit

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_operators
from mvit2_search.arch.published import published_by_network
from mvit2_search.errors import SpecError
from mvit2_search.predict.predictor import as_tuple, prices
from mvit2_search.records import Passport, Prediction

ESTIMATES = {"iphone12": "iPhone 12"}  # by the name after `estimate:`; the device as `published.csv` has it

_AS_GOOD = 1.5  # forms with at most so many times the smallest leave-one-out error count for the interval
_ENCODER_WEIGHTS = (0.5, 1.0, 2.0)  # cost of an element moved in an attention layer; of any other, 1
_EXPECTED: dict[str, object] = {
    "family": "mobilevitv2",
    "attention": "separable",
    "kernel_sizes": 3,
    "patch_sizes": 2,
    "image_size": 256,
}
_CHANNELS = ("stem_channels", "stage_channels", "attention_dims")

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]
"""`fit(x_NF, y_N, x_MF)`, fitted to amounts `x_NF` and latencies `y_N`, gives the latencies for `x_MF` and the
half-widths of their relative 95 % intervals, of shape M each."""


def _fit_prices(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A price for each column."""
    prices_F = prices(x_NF, y_N)
    relative_NF, fitted_M = x_NF / y_N[:, None], x_MF @ prices_F
    used_F = prices_F > 0
    return fitted_M, _margin(
        relative_NF[:, used_F], 1 - relative_NF @ prices_F, (x_MF / fitted_M[:, None])[:, used_F]
    )


def _fit_power(x_NF: np.ndarray, y_N: np.ndarray, x_MF: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A power of the first column, by least squares of logarithms."""
    design_NP, design_MP = (np.stack([np.ones(len(x)), np.log(x[:, 0])], 1) for x in (x_NF, x_MF))
    powers_P = np.linalg.lstsq(design_NP, np.log(y_N), rcond=None)[0]
    return np.exp(design_MP @ powers_P), _margin(design_NP, np.log(y_N) - design_NP @ powers_P, design_MP)


def _margin(design_NP: np.ndarray, residual_N: np.ndarray, design_MP: np.ndarray) -> np.ndarray:
    """Half-width of Student's prediction interval; infinite where no degree of freedom is left."""
    freedom = len(residual_N) - design_NP.shape[1]
    if freedom < 1:
        return np.full(len(design_MP), np.inf)
    leverage_M = np.einsum("mp,pq,mq->m", design_MP, np.linalg.pinv(design_NP.T @ design_NP), design_MP)
    variance = float(residual_N @ residual_N) / freedom
    margin_M: np.ndarray = float(stdtrit(freedom, 0.975)) * np.sqrt(variance * (1 + leverage_M))
    return margin_M


# forms of latency law: the amounts that the latency depends on, as `_amounts` names them, and how it does
FORMS: dict[str, tuple[tuple[str, ...], Fit]] = {
    "proportional to multiply-adds": (("macs",), _fit_prices),
    "proportional to elements moved": (("elements",), _fit_prices),
    "a constant and a price of multiply-adds": (("one", "macs"), _fit_prices),
    "a constant and a price of elements moved": (("one", "elements"), _fit_prices),
    "prices of elements moved and multiply-adds": (("elements", "macs"), _fit_prices),
    "a power of multiply-adds": (("macs",), _fit_power),
    "a power of elements moved": (("elements",), _fit_power),
}


def make_estimate(name: str) -> "Estimate":
    """The estimate called `name`, with or without `estimate:` before it.

    Raises:
        SpecError: there is none of that name.
    """
    short = name.removeprefix("estimate:")
    if short not in ESTIMATES:
        raise SpecError(f"estimate {short!r}: expected one of {', '.join(ESTIMATES)}")
    return Estimate(short)


class Estimate:
    """Fitted to every width of MobileViTv2 for which the authors print the latency on one phone.

    Attributes:
        errors_pct: by form, the error of each published figure when it is predicted from the others.
        form: the form whose errors have the smallest root mean square.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        networks, headlines = published_networks(), [rows[0] for rows in published_by_network().values()]
        self._anchors = {
            networks[row.model]: row.latency_ms
            for row in headlines
            if row.model and row.width and row.latency_ms and row.device == ESTIMATES[name]
        }
        self._latencies_ms = np.array(list(self._anchors.values()))
        self.errors_pct = {form: self._errors_pct(form) for form in FORMS}
        self.form = min(FORMS, key=self._rms_pct)

    @property
    def leave_one_out_pct(self) -> float:
        """Root mean square of the errors of left-out figures, in percent."""
        return self._rms_pct(self.form)

    @property
    def description(self) -> str:
        """The form, the figures it is fitted to and its error, in words."""
        largest = max(map(abs, self.errors_pct[self.form]))
        return (
            f"{self.form}, fitted to {len(self._anchors)} published figures for {ESTIMATES[self.name]}; "
            f"leave-one-out error {self.leave_one_out_pct:.1f} %, at most {largest:.1f} %, "
            f"the smallest of {len(FORMS)} forms"
        )

    def passport(self) -> Passport:
        """What its predictions hold for."""
        return Passport(
            device=ESTIMATES[self.name],
            chip="as published",
            system="as published",
            runtime=self.description,
            compute_units="as published",
            precision="as published",
            batch=1,
            threads=0,
            kind="predicted",
        )

    def middle_ms(self, arch: ArchConfig) -> float | None:
        """The latency of `predict` without the interval, which is quicker; None for a network that is refused."""
        return None if self.refusal(arch) else self._fitted(self.form, arch, 1.0)[0]

    def predict(self, arch: ArchConfig) -> Prediction:
        """The interval spans all forms that fit about as well, with cheap and with expensive attention layers.

        Raises:
            SpecError: the network is of another kind than the published ones, or not between them in size.
        """
        if refusal := self.refusal(arch):
            raise SpecError(refusal)
        as_good = [form for form in FORMS if self._rms_pct(form) <= _AS_GOOD * self.leave_one_out_pct]
        spans = [self._fitted(form, arch, weight) for form in as_good for weight in _ENCODER_WEIGHTS]
        return Prediction(
            latency_ms=self._fitted(self.form, arch, 1.0)[0],
            low_ms=min(ms * max(1 - margin, 0) for ms, margin in spans),
            high_ms=max(ms * (1 + margin) for ms, margin in spans),
            predictor=self.description,
        )

    def refusal(self, arch: ArchConfig) -> str | None:
        """Why the published figures say nothing about `arch`, with the setting; None where they do."""
        problem = next(self._problems(arch), None)
        return problem and f"estimate:{self.name}: {problem}; the published figures say nothing about it"

    def _problems(self, arch: ArchConfig) -> Iterator[str]:
        for setting, expected in _EXPECTED.items():
            for value in as_tuple(getattr(arch, setting)):
                if value != expected:
                    yield f"{setting}: expected {expected}, found {value}"
        for setting in _CHANNELS:
            rows = [as_tuple(getattr(anchor, setting)) for anchor in self._anchors]
            for i, value in enumerate(as_tuple(getattr(arch, setting))):
                low, high = min(row[i] for row in rows), max(row[i] for row in rows)
                absent = setting == "attention_dims" and not arch.attention_layers[i]
                if not absent and not low <= value <= high:
                    yield f"{setting}: expected {low} to {high} at place {i + 1}, found {value}"
        for column, word in (("macs", "multiply-adds"), ("elements", "elements moved")):
            own, *anchors = _amounts([arch, *self._anchors], (column,), 1.0)[:, 0].tolist()
            low, high = min(anchors), max(anchors)
            if not low <= own <= high:
                yield f"{word}: expected {low:.1f} to {high:.1f} million, found {own:.1f} million"

    def _fitted(self, form: str, arch: ArchConfig, weight: float) -> tuple[float, float]:
        """The latency and its relative margin."""
        columns, fit = FORMS[form]
        x_NF, x_1F = _amounts(list(self._anchors), columns, weight), _amounts([arch], columns, weight)
        latency, margin = fit(x_NF, self._latencies_ms, x_1F)
        return float(latency[0]), float(margin[0])

    def _errors_pct(self, form: str) -> tuple[float, ...]:
        columns, fit = FORMS[form]
        x_NF, y_N = _amounts(list(self._anchors), columns, 1.0), self._latencies_ms
        rows = np.arange(len(y_N))
        left_out = [fit(x_NF[rows != i], y_N[rows != i], x_NF[[i]])[0][0] for i in rows]
        return tuple(100 * (float(ms) / truth - 1) for ms, truth in zip(left_out, y_N.tolist(), strict=True))

    def _rms_pct(self, form: str) -> float:
        return float(np.sqrt(np.mean(np.square(self.errors_pct[form]))))


def _amounts(archs: Sequence[ArchConfig], columns: Sequence[str], encoder_weight: float) -> np.ndarray:
    """A row per network and a column per name: `one`, millions of `elements` moved, millions of `macs`."""
    rows = []
    for elements, in_encoders, macs in map(_sums, archs):
        amounts = {"one": 1.0, "elements": (elements + encoder_weight * in_encoders) / 1e6, "macs": macs / 1e6}
        rows.append([amounts[column] for column in columns])
    return np.array(rows)


@lru_cache(maxsize=1_000)
def _sums(arch: ArchConfig) -> tuple[int, int, int]:
    """Elements moved outside and inside attention layers, and multiply-adds."""
    operators = network_operators(arch)
    in_encoders = sum(o.elements for o in operators if o.encoder)
    return sum(o.elements for o in operators) - in_encoders, in_encoders, sum(o.macs for o in operators)
