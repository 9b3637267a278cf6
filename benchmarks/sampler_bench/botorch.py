"""BoTorch's qLogNEHVI (arXiv:2310.20708) as a sampler: the peer from outside of Optuna.

One Gaussian process per objective, of objectives scaled to mean 0 and variance 1 and known to be without noise; a
table's accuracies below the reference count as the reference. Of a table, the categories with the largest expected
gain of hypervolume are taken among 1,000 drawn anew each time, less those that have been evaluated; on continuous
problems it is climbed to by gradients.
"""

import warnings
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState
from sampler_bench.extra import bench_module
from sampler_bench.problems import Params, Problem

_CANDIDATES = 1_000
_SAMPLES = 64  # of the models' joint distribution, per expectation
_NOISE = 1e-4  # variance of objectives of variance 1: the problems have none, and a model that looks for some
# takes weak settings for it
_RESTARTS, _RAW = 10, 512  # of the search for the largest expected gain
_SEEDS = 2**31


class QLogNEHVISampler(BaseSampler):
    """Random settings first, 2 (d + 1) of them, then those with the largest expected gain of hypervolume.

    Raises:
        BackendUnavailable: BoTorch is not installed.
    """

    def __init__(self, problem: Problem, *, seed: int) -> None:
        self._acquisition = bench_module("botorch.acquisition.multi_objective.logei")
        self._problem = problem
        self._rng = np.random.default_rng(seed)
        self._axes = list(problem.distributions)

    def infer_relative_search_space(self, study: optuna.Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        return self._problem.distributions

    def sample_relative(
        self, study: optuna.Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> Params:
        done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        if len(done) < 2 * (len(self._axes) + 1):
            return self._decoded(self._uniform(1)[0])
        x_ND = np.array([self._encoded(t.params) for t in done])
        least = self._problem.reference[0] if self._problem.points else -np.inf  # networks that hardly learn
        y_N2 = np.maximum([t.values for t in done], (least, -np.inf)) * (1, -1)
        with warnings.catch_warnings():
            for category in self._remarks():
                warnings.simplefilter("ignore", category)
            return self._decoded(self._best(x_ND, y_N2))

    def sample_independent(
        self, study: optuna.Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        raise AssertionError(f"{param_name} is not an axis of the problem")

    def _best(self, x_ND: np.ndarray, y_N2: np.ndarray) -> np.ndarray:
        import torch

        mean_2, scale_2 = y_N2.mean(0), y_N2.std(0, ddof=1) + 1e-12
        reference_2 = (np.array(self._problem.reference) * (1, -1) - mean_2) / scale_2
        baseline = torch.from_numpy(x_ND)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(self._rng.integers(_SEEDS)))
            gain = self._acquisition.qLogNoisyExpectedHypervolumeImprovement(
                self._model(baseline, torch.from_numpy((y_N2 - mean_2) / scale_2)),
                ref_point=reference_2.tolist(),
                X_baseline=baseline,
                sampler=bench_module("botorch.sampling").SobolQMCNormalSampler(
                    torch.Size([_SAMPLES]), seed=int(self._rng.integers(_SEEDS))
                ),
                prune_baseline=True,
            )
            return self._of_pool(gain, x_ND) if self._problem.points else self._by_gradients(gain)

    def _model(self, x_ND: Any, y_N2: Any) -> Any:
        """One Gaussian process per objective; categories are equal or not, and have no order."""
        import torch

        models, mlls = bench_module("botorch.models"), bench_module("gpytorch.mlls")
        fit = bench_module("botorch.fit").fit_gpytorch_mll
        every = list(range(len(self._axes)))
        fitted = []
        for y_N1 in y_N2.split(1, dim=-1):
            settings = {"train_Yvar": torch.full_like(y_N1, _NOISE), "outcome_transform": None}
            if self._problem.points:
                model = models.MixedSingleTaskGP(x_ND, y_N1, cat_dims=every, **settings)
            else:
                model = models.SingleTaskGP(x_ND, y_N1, **settings)
            fit(mlls.ExactMarginalLogLikelihood(model.likelihood, model))
            fitted.append(model)
        return models.ModelListGP(*fitted)

    def _of_pool(self, gain: Any, x_ND: np.ndarray) -> np.ndarray:
        """The best of categories that have not been evaluated."""
        import torch

        known = {tuple(x) for x in x_ND}
        left = [x for x in np.unique(self._uniform(_CANDIDATES), axis=0) if tuple(x) not in known]
        if not left:
            left = list(self._uniform(1))
        with torch.no_grad():
            gains = [gain(torch.from_numpy(part)[:, None]) for part in np.array_split(left, min(10, len(left)))]
        best: np.ndarray = left[int(torch.cat(gains).argmax())]
        return best

    def _by_gradients(self, gain: Any) -> np.ndarray:
        import torch

        bounds = torch.tensor([[0.0], [1.0]], dtype=torch.float64).expand(2, len(self._axes))
        optimize = bench_module("botorch.optim").optimize_acqf
        x_1D, _ = optimize(gain, bounds=bounds, q=1, num_restarts=_RESTARTS, raw_samples=_RAW)
        x_D: np.ndarray = x_1D[0].numpy()
        return x_D

    def _uniform(self, n: int) -> np.ndarray:
        """Settings as numbers: of categories their indices, otherwise from 0 to 1."""
        if not self._problem.points:
            return self._rng.random((n, len(self._axes)))
        sizes = [len(d.choices) for d in self._problem.distributions.values()]  # type: ignore[attr-defined]
        return self._rng.integers(sizes, size=(n, len(sizes))).astype(float)

    def _encoded(self, params: Params) -> list[float]:
        return [float(d.to_internal_repr(params[axis])) for axis, d in self._problem.distributions.items()]

    def _decoded(self, x_D: np.ndarray) -> Params:
        pairs = zip(self._problem.distributions.items(), x_D, strict=True)
        return {axis: distribution.to_external_repr(float(x)) for (axis, distribution), x in pairs}

    def _remarks(self) -> list[type[Warning]]:
        """How BoTorch says that it tried again, which it does by itself."""
        botorch = bench_module("botorch.exceptions.warnings")
        return [
            botorch.BadInitialCandidatesWarning,
            botorch.OptimizationWarning,
            bench_module("linear_operator.utils.warnings").NumericalWarning,
        ]
