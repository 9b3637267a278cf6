"""The records this package writes: what was measured or predicted, what became of a trial, what was asked for."""

from mvit2_search.records.artifact import (
    DEFAULT_FORMULATION,
    FORMULATION_NAMES,
    INPUT_KINDS,
    PRECISIONS,
    TARGETS,
    About,
    AboutMixer,
    AboutNetwork,
    Artifact,
    CoreMLOptions,
    FormulationName,
    InputKind,
    Kept,
    KeptReference,
    KnownReference,
    Precision,
    Scatter,
    Target,
    UnitTrial,
)
from mvit2_search.records.latency import (
    Latency,
    LatencyKind,
    Measurement,
    Passport,
    Prediction,
    Samples,
    device_sentence,
    latency_kind,
    score_fault,
    time_fault,
)
from mvit2_search.records.recipe import Recipe, recipe_fault
from mvit2_search.records.study import (
    METRICS,
    TOP1,
    BudgetNetwork,
    DataInputs,
    Ended,
    Goals,
    Inputs,
    Limits,
    Metric,
    StudyDevice,
)
from mvit2_search.records.training import EpochRow, FullTraining, TeacherInputs, TrainingInputs, TrainingState
from mvit2_search.records.trial import (
    ACCURACY_FROM,
    INTERRUPTED,
    MOST_TRIES,
    Candidate,
    ConfirmationPlan,
    Control,
    Failed,
    Finished,
    Infeasible,
    Outcome,
    Probe,
    Published,
    Role,
    Score,
    Stopped,
    Trial,
    failure_sentences,
    given_up_sentences,
    outcome_name,
    place,
    role_name,
)

SCHEMA = 2
