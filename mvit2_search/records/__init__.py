"""The records this package writes: what was measured or predicted, what became of a trial, what was asked for."""

from mvit2_search.records.confirmation import ConfirmationPlan, Score
from mvit2_search.records.conversion import INPUT_KINDS, PRECISIONS, TARGETS, CoreMLOptions, Target
from mvit2_search.records.formulation import DEFAULT_FORMULATION, FORMULATION_NAMES, FormulationName
from mvit2_search.records.kept import About, AboutMixer, AboutNetwork, Kept
from mvit2_search.records.latency import Latency, LatencyKind, latency_kind, latency_of_json, latency_to_json
from mvit2_search.records.measurement import Artifact, InputKind, Measurement, Passport, Precision, Samples
from mvit2_search.records.prediction import Prediction
from mvit2_search.records.recipe import Recipe
from mvit2_search.records.trial import Failed, Finished, Infeasible, Outcome, Stopped, Trial, outcome_name

SCHEMA = 1

__all__ = [
    "DEFAULT_FORMULATION",
    "FORMULATION_NAMES",
    "INPUT_KINDS",
    "PRECISIONS",
    "SCHEMA",
    "TARGETS",
    "About",
    "AboutMixer",
    "AboutNetwork",
    "Artifact",
    "ConfirmationPlan",
    "CoreMLOptions",
    "Failed",
    "Finished",
    "FormulationName",
    "Infeasible",
    "InputKind",
    "Kept",
    "Latency",
    "LatencyKind",
    "Measurement",
    "Outcome",
    "Passport",
    "Precision",
    "Prediction",
    "Recipe",
    "Samples",
    "Score",
    "Stopped",
    "Target",
    "Trial",
    "latency_kind",
    "latency_of_json",
    "latency_to_json",
    "outcome_name",
]
