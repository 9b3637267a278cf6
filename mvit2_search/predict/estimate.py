"""Latencies on a phone that is not at hand, estimated from the figures that the authors of MobileViTv2 print.

They print only a handful, of networks that differ in width alone. So an estimate refuses networks of another kind
or size, and its interval spans every form of latency law that fits the figures about as well.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from scipy.stats import t

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_operators
from mvit2_search.arch.published import published_by_network
from mvit2_search.errors import SpecError
from mvit2_search.predict.predictor import prices
from mvit2_search.records import Prediction

ESTIMATES = {"iphone12": "iPhone 12"}  # by the name after `estimate:`; the device as `published.csv` has it

_AS_GOOD = 1.5  # forms with at most so many times the smallest leave-one-out error count for the interval
_ENCODER_WEIGHTS = (0.5, 1.0, 2.0)  # cost of an element moved in an attention layer; of any other, 1
_EXPECTED: dict[str, object] = {
    "family": "mobilevitv2",
    "attention": "separable",
    "kernel_sizes": 3,
    "patch_sizes": 2,
}
_CHANNELS = ("stem_channels", "stage_channels", "attention_dims")

Fit = Callable[[np.ndarray, np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """A form of latency law.

    Attributes:
        columns: the amounts that the latency depends on, as `_amounts` names them.
        fit: `fit(x_NF, y_N, x_MF)` is fitted to amounts `x_NF` and latencies `y_N`; it gives the latencies for
            `x_MF` and the half-widths of their relative 95 % intervals, of shape M each.
    """

    name: str
    columns: tuple[str, ...]
    fit: Fit

    def leave_one_out(self, x_NF: np.ndarray, y_N: np.ndarray) -> np.ndarray:
        """The relative error of each latency when it is predicted from the others."""
        rows = np.arange(len(y_N))
        left_out = [self.fit(x_NF[rows != i], y_N[rows != i], x_NF[[i]])[0][0] for i in rows]
        errors_N: np.ndarray = np.array(left_out) / y_N - 1
        return errors_N


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
    margin_M: np.ndarray = float(t.ppf(0.975, freedom)) * np.sqrt(variance * (1 + leverage_M))
    return margin_M


FORMS = {
    form.name: form
    for form in (
        Form(name="proportional to multiply-adds", columns=("macs",), fit=_fit_prices),
        Form(name="proportional to elements moved", columns=("elements",), fit=_fit_prices),
        Form(name="a constant and a price of multiply-adds", columns=("one", "macs"), fit=_fit_prices),
        Form(name="a constant and a price of elements moved", columns=("one", "elements"), fit=_fit_prices),
        Form(name="prices of elements moved and multiply-adds", columns=("elements", "macs"), fit=_fit_prices),
        Form(name="a power of multiply-adds", columns=("macs",), fit=_fit_power),
        Form(name="a power of elements moved", columns=("elements",), fit=_fit_power),
    )
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
        networks = published_networks()
        self._anchors = {networks[model]: ms for model, ms in _headlines(ESTIMATES[name]).items()}
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

    def middle_ms(self, arch: ArchConfig) -> float:
        """The latency of `predict` without the interval, which is quicker; raises the same."""
        self.check(arch)
        return self._fitted(self.form, arch, 1.0)[0]

    def predict(self, arch: ArchConfig) -> Prediction:
        """The interval spans all forms that fit about as well, with cheap and with expensive attention layers.

        Raises:
            SpecError: the network is of another kind than the published ones, or not between them in size.
        """
        middle = self.middle_ms(arch)
        as_good = [form for form in FORMS if self._rms_pct(form) <= _AS_GOOD * self.leave_one_out_pct]
        spans = [self._fitted(form, arch, weight) for form in as_good for weight in _ENCODER_WEIGHTS]
        return Prediction(
            latency_ms=middle,
            low_ms=min(ms * max(1 - margin, 0) for ms, margin in spans),
            high_ms=max(ms * (1 + margin) for ms, margin in spans),
            predictor=self.description,
        )

    def check(self, arch: ArchConfig) -> None:
        """Raises SpecError, naming the setting, where the published figures say nothing about `arch`."""
        for setting, expected in _EXPECTED.items():
            value = getattr(arch, setting)
            if odd := [v for v in (value if isinstance(value, tuple) else (value,)) if v != expected]:
                raise self._refusal(setting, f"expected {expected}, found {odd[0]}")
        sizes = {anchor.image_size for anchor in self._anchors}
        if arch.image_size not in sizes:
            raise self._refusal("image_size", f"expected {min(sizes)}, found {arch.image_size}")
        for setting in _CHANNELS:
            self._check_channels(setting, arch)
        for column, word in (("macs", "multiply-adds"), ("elements", "elements moved")):
            (own,) = _amounts([arch], (column,), 1.0)[:, 0]
            low, *_, high = np.sort(_amounts(list(self._anchors), (column,), 1.0)[:, 0])
            if not low <= own <= high:
                raise self._refusal(word, f"expected {low:.1f} to {high:.1f} million, found {own:.1f} million")

    def _check_channels(self, setting: str, arch: ArchConfig) -> None:
        rows = [_tuple(getattr(anchor, setting)) for anchor in self._anchors]
        for i, value in enumerate(_tuple(getattr(arch, setting))):
            low, high = min(row[i] for row in rows), max(row[i] for row in rows)
            absent = setting == "attention_dims" and not arch.attention_layers[i]
            if not absent and not low <= value <= high:
                raise self._refusal(setting, f"expected {low} to {high} at place {i + 1}, found {value}")

    def _refusal(self, setting: str, problem: str) -> SpecError:
        return SpecError(f"estimate:{self.name}: {setting}: {problem}; the published figures say nothing about it")

    def _fitted(self, form: str, arch: ArchConfig, weight: float) -> tuple[float, float]:
        """The latency and its relative margin."""
        columns = FORMS[form].columns
        x_NF, x_1F = _amounts(list(self._anchors), columns, weight), _amounts([arch], columns, weight)
        latency, margin = FORMS[form].fit(x_NF, self._latencies_ms, x_1F)
        return float(latency[0]), float(margin[0])

    def _errors_pct(self, form: str) -> tuple[float, ...]:
        x_NF = _amounts(list(self._anchors), FORMS[form].columns, 1.0)
        errors = FORMS[form].leave_one_out(x_NF, self._latencies_ms)
        return tuple(100 * float(error) for error in errors)

    def _rms_pct(self, form: str) -> float:
        return float(np.sqrt(np.mean(np.square(self.errors_pct[form]))))


def _headlines(device: str) -> dict[str, float]:
    """The authors' own latencies of MobileViTv2 on `device`, by network."""
    return {
        name: rows[0].latency_ms
        for name, rows in published_by_network().items()
        if rows[0].width is not None and rows[0].latency_ms is not None and rows[0].device == device
    }


def _amounts(archs: Sequence[ArchConfig], columns: Sequence[str], encoder_weight: float) -> np.ndarray:
    """A row per network and a column per name: `one`, millions of `elements` moved, millions of `macs`."""
    rows = []
    for arch in archs:
        elements, in_encoders, macs = _sums(arch)
        amounts = {"one": 1.0, "elements": (elements + encoder_weight * in_encoders) / 1e6, "macs": macs / 1e6}
        rows.append([amounts[column] for column in columns])
    return np.array(rows)


@lru_cache(maxsize=1_000)
def _sums(arch: ArchConfig) -> tuple[int, int, int]:
    """Elements moved outside and inside attention layers, and multiply-adds."""
    operators = network_operators(arch)
    in_encoders = sum(o.elements for o in operators if o.encoder)
    return sum(o.elements for o in operators) - in_encoders, in_encoders, sum(o.macs for o in operators)


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
