"""Saved Core ML packages, read and executed without Core ML: a second opinion on what was written."""

from mvit2_search.export.mil.interpreter import Arithmetic, Interpreter, run_mlpackage
from mvit2_search.export.mil.operators import OPERATORS
from mvit2_search.export.mil.program import Constant, Operation, Program, TensorType, read_program

__all__ = [
    "OPERATORS",
    "Arithmetic",
    "Constant",
    "Interpreter",
    "Operation",
    "Program",
    "TensorType",
    "read_program",
    "run_mlpackage",
]
