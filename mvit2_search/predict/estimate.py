"""Latencies of phones that are not at hand, estimated from what the authors of MobileViTv2 print.

A handful of figures of networks that differ in width alone decides little. So an estimate takes only networks of
the same kind and size, its interval spans every form that fits the figures about as well, and it says that it is
an estimate.
"""

from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from mvit2_search.arch import ArchConfig, published_networks
from mvit2_search.arch.cost import network_operators
from mvit2_search.arch.published_figures import published_by_network
from mvit2_search.errors import SpecError
from mvit2_search.predict.predictor import Form, fit_power, fit_prices
from mvit2_search.records import Prediction

ESTIMATES = {"iphone12": "iPhone 12"}  # by the name after `estimate:`; the device as `published.csv` has it

_COLUMNS = ("one", "elements", "macs")
FORMS: dict[str, tuple[tuple[str, ...], Form]] = {
    form.name: (columns, form)
    for columns, form in (
        (("macs",), Form(name="proportional to multiply-adds", fit=fit_prices)),
        (("elements",), Form(name="proportional to elements moved", fit=fit_prices)),
        (("one", "macs"), Form(name="a constant and a price of multiply-adds", fit=fit_prices)),
        (("one", "elements"), Form(name="a constant and a price of elements moved", fit=fit_prices)),
        (("elements", "macs"), Form(name="prices of elements moved and multiply-adds", fit=fit_prices)),
        (("macs",), Form(name="a power of multiply-adds", fit=fit_power)),
        (("elements",), Form(name="a power of elements moved", fit=fit_power)),
    )
}
_AS_GOOD = 1.5  # times the smallest leave-one-out error: such forms count for the interval
_ENCODER_WEIGHTS = (0.5, 1.0, 2.0)  # what an element moved in an attention layer may cost, another one being 1
_EXPECTED: dict[str, object] = {
    "family": "mobilevitv2",
    "attention": "separable",
    "kernel_sizes": 3,
    "patch_sizes": 2,
}
_CHANNELS = ("stem_channels", "stage_channels", "attention_dims")


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
    """Fitted to every width of MobileViTv2 whose latency on one phone its authors print.

    Attributes:
        errors_pct: by form, the error of each published figure when it is predicted from the others.
        form: the one whose root mean square of these is the smallest.
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
        """In words, with the error."""
        largest = max(map(abs, self.errors_pct[self.form]))
        return (
            f"{self.form}, fitted to {len(self._anchors)} published figures for {ESTIMATES[self.name]}; "
            f"leave-one-out error {self.leave_one_out_pct:.1f} %, at most {largest:.1f} %, "
            f"the smallest of {len(FORMS)} forms"
        )

    def middle_ms(self, arch: ArchConfig) -> float:
        """The latency of `predict` without its interval, for many networks; raises as that does."""
        self.check(arch)
        return self._fitted(self.form, arch, 1.0)[0]

    def predict(self, arch: ArchConfig) -> Prediction:
        """The interval spans all forms that fit about as well, and cheap and dear attention layers.

        Raises:
            SpecError: the network is of another kind than the published ones, or not between them.
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
        columns, fitted = FORMS[form]
        x_NF, x_1F = _amounts(list(self._anchors), columns, weight), _amounts([arch], columns, weight)
        latency, margin = fitted.fit(x_NF, self._latencies_ms, x_1F)
        return float(latency[0]), float(margin[0])

    def _errors_pct(self, form: str) -> tuple[float, ...]:
        columns, fitted = FORMS[form]
        errors = fitted.leave_one_out(_amounts(list(self._anchors), columns, 1.0), self._latencies_ms)
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
    """A row per network: ones, millions of elements moved, millions of multiply-adds, as `columns` says."""
    rows = []
    for arch in archs:
        elements, in_encoders, macs = _sums(arch)
        amounts = (1.0, (elements + encoder_weight * in_encoders) / 1e6, macs / 1e6)
        rows.append([amounts[_COLUMNS.index(column)] for column in columns])
    return np.array(rows)


@lru_cache(maxsize=1_000)
def _sums(arch: ArchConfig) -> tuple[int, int, int]:
    """Elements moved outside and inside of attention layers, and multiply-adds."""
    operators = network_operators(arch)
    in_encoders = sum(o.elements for o in operators if o.encoder)
    return sum(o.elements for o in operators) - in_encoders, in_encoders, sum(o.macs for o in operators)


def _tuple(value: int | tuple[int, ...]) -> tuple[int, ...]:
    return value if isinstance(value, tuple) else (value,)
