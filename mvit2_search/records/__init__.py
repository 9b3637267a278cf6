"""The records this package writes: what was measured or predicted, what became of a trial, what was asked for."""

from mvit2_search.records.confirmation import ConfirmationPlan, Score
from mvit2_search.records.conversion import INPUT_KINDS, PRECISIONS, TARGETS, CoreMLOptions, Target
from mvit2_search.records.formulation import DEFAULT_FORMULATION, FORMULATION_NAMES, FormulationName
from mvit2_search.records.kept import About, AboutMixer, AboutNetwork, Kept
from mvit2_search.records.latency import (
    Latency,
    LatencyKind,
    latency_from_json,
    latency_kind,
    latency_to_json,
)
from mvit2_search.records.measurement import Artifact, InputKind, Measurement, Passport, Precision, Samples
from mvit2_search.records.plausible import accuracy_fault, latency_fault, time_fault
from mvit2_search.records.prediction import Prediction
from mvit2_search.records.recipe import Recipe
from mvit2_search.records.trial import (
    ACCURACY_FROM,
    INTERRUPTED,
    MOST_TRIES,
    Failed,
    Finished,
    Infeasible,
    Outcome,
    Stopped,
    Trial,
    outcome_name,
)
from mvit2_search.records.tries import failure_sentences, given_up_sentences

SCHEMA = 1

__all__ = [
    "ACCURACY_FROM",
    "DEFAULT_FORMULATION",
    "FORMULATION_NAMES",
    "INPUT_KINDS",
    "INTERRUPTED",
    "MOST_TRIES",
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
    "accuracy_fault",
    "failure_sentences",
    "given_up_sentences",
    "latency_fault",
    "latency_from_json",
    "latency_kind",
    "latency_to_json",
    "outcome_name",
    "time_fault",
]
