"""Settings of every kind that Optuna knows."""

from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

MIXED = {
    "width": FloatDistribution(0.5, 2.0),
    "rate": FloatDistribution(1e-4, 1e-1, log=True),
    "expand": FloatDistribution(1.0, 3.0, step=0.5),
    "layers": IntDistribution(0, 4),
    "kernel": CategoricalDistribution((3, 5, 7)),
    "mixer": CategoricalDistribution(("separable", "linformer", "multi_head")),
}
