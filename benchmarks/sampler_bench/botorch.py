"""BoTorch's qLogNEHVI (arXiv:2310.20708) as a sampler: the peer from outside of Optuna.

One Gaussian process per objective, without noise, on objectives scaled to mean 0 and variance 1; a table's
accuracies below the reference count as the reference. On a table it takes the settings with the largest expected
gain of hypervolume among 1,000 new random ones, less those evaluated; on a continuous problem it climbs by
gradients.
"""

import warnings
from typing import Any

import numpy as np
import optuna
import torch
from botorch.acquisition.multi_objective.logei import qLogNoisyExpectedHypervolumeImprovement
from botorch.exceptions.warnings import BadInitialCandidatesWarning, OptimizationWarning
from botorch.fit import fit_gpytorch_mll
from botorch.models import MixedSingleTaskGP, ModelListGP, SingleTaskGP
from botorch.optim import optimize_acqf
from botorch.sampling import SobolQMCNormalSampler
from gpytorch.mlls import ExactMarginalLogLikelihood
from linear_operator.utils.warnings import NumericalWarning
from optuna.trial import FrozenTrial, TrialState
from sampler_bench.problems import Params, Problem, ProblemSampler

_CANDIDATES = 1_000
_SAMPLES = 64  # of the models' joint distribution, per expectation
_NOISE = 1e-4  # variance, where that of an objective is 1: a model that has to find out about noise mistakes weak
# settings for it
_RESTARTS, _RAW = 10, 512  # of the search for the largest expected gain
_SEEDS = 2**31
_RETRIES = (BadInitialCandidatesWarning, OptimizationWarning, NumericalWarning)  # BoTorch tried again by itself


class QLogNEHVISampler(ProblemSampler):
    """Random settings first, 2 (d + 1) of them, then those with the largest expected gain of hypervolume."""

    def __init__(self, problem: Problem, *, seed: int) -> None:
        super().__init__(problem, seed=seed)
        self._axes = list(problem.distributions)

    def sample_relative(self, study: optuna.Study, trial: FrozenTrial, search_space: Any) -> Params:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < 2 * (len(self._axes) + 1):
            return self._decoded(self._uniform(1)[0])
        x_ND = np.array([self._encoded(t.params) for t in done])
        least = self._problem.reference[0] if self._problem.points else -np.inf  # networks that hardly learn
        y_N2 = np.maximum([t.values for t in done], (least, -np.inf)) * (1, -1)
        with warnings.catch_warnings():
            for category in _RETRIES:
                warnings.simplefilter("ignore", category)
            return self._decoded(self._best(x_ND, y_N2))

    def _best(self, x_ND: np.ndarray, y_N2: np.ndarray) -> np.ndarray:
        mean_2, scale_2 = y_N2.mean(0), y_N2.std(0, ddof=1) + 1e-12
        reference_2 = (np.array(self._problem.reference) * (1, -1) - mean_2) / scale_2
        baseline = torch.from_numpy(x_ND)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._rng.integers(_SEEDS)))
            gain = qLogNoisyExpectedHypervolumeImprovement(
                self._model(baseline, torch.from_numpy((y_N2 - mean_2) / scale_2)),
                ref_point=reference_2.tolist(),
                X_baseline=baseline,
                sampler=SobolQMCNormalSampler(torch.Size([_SAMPLES]), seed=int(self._rng.integers(_SEEDS))),
                prune_baseline=True,
            )
            return self._of_pool(gain, x_ND) if self._problem.points else self._by_gradients(gain)

    def _model(self, x_ND: torch.Tensor, y_N2: torch.Tensor) -> Any:
        """One Gaussian process per objective; categories are equal or not, and have no order."""
        fitted = []
        for y_N1 in y_N2.T.unsqueeze(-1):
            settings: dict[str, Any] = {"train_Yvar": torch.full_like(y_N1, _NOISE), "outcome_transform": None}
            if self._problem.points:
                model = MixedSingleTaskGP(x_ND, y_N1, cat_dims=list(range(len(self._axes))), **settings)
            else:
                model = SingleTaskGP(x_ND, y_N1, **settings)
            fit_gpytorch_mll(ExactMarginalLogLikelihood(model.likelihood, model))
            fitted.append(model)
        return ModelListGP(*fitted)

    def _of_pool(self, gain: Any, x_ND: np.ndarray) -> np.ndarray:
        """The best of random settings that have not been evaluated."""
        known = {tuple(x) for x in x_ND}
        left = [x for x in np.unique(self._uniform(_CANDIDATES), axis=0) if tuple(x) not in known]
        if not left:
            left = list(self._uniform(1))
        with torch.no_grad():
            gains = [gain(torch.from_numpy(part)[:, None]) for part in np.array_split(left, min(10, len(left)))]
        best: np.ndarray = left[int(torch.cat(gains).argmax())]
        return best

    def _by_gradients(self, gain: Any) -> np.ndarray:
        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, len(self._axes))
        x_1D, _ = optimize_acqf(gain, bounds=bounds, q=1, num_restarts=_RESTARTS, raw_samples=_RAW)
        x_D: np.ndarray = x_1D[0].numpy()
        return x_D

    def _uniform(self, n: int) -> np.ndarray:
        """Random settings as numbers: indices of categories, otherwise from 0 to 1."""
        if not self._problem.points:
            return self._rng.random((n, len(self._axes)))
        sizes = [len(d.choices) for d in self._problem.distributions.values()]  # type: ignore[attr-defined]
        return self._rng.integers(sizes, size=(n, len(sizes))).astype(float)

    def _encoded(self, params: Params) -> list[float]:
        return [float(d.to_internal_repr(params[axis])) for axis, d in self._problem.distributions.items()]

    def _decoded(self, x_D: np.ndarray) -> Params:
        pairs = zip(self._problem.distributions.items(), x_D, strict=True)
        return {axis: distribution.to_external_repr(float(x)) for (axis, distribution), x in pairs}
