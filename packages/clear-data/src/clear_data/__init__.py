"""Fictitious people, their questions and their photographs, for machine unlearning."""

__version__ = "0.1.0"

from clear_data.builder import build
from clear_data.checker import Checked, check
from clear_data.content import BuildOptions
from clear_data.readers import Mllmu, Tofu, read_mllmu, read_tofu
from clear_data.schema import COLUMNS, TASKS, Row, features, make_row, validate_rows
from clear_data.splits import forget_retain_sets, validate_sets
from clear_data.subjects import Subject, make_subjects
from clear_data.table import RowSets, load, save

__all__ = [
    "COLUMNS",
    "TASKS",
    "BuildOptions",
    "Checked",
    "Mllmu",
    "Row",
    "RowSets",
    "Subject",
    "Tofu",
    "build",
    "check",
    "features",
    "forget_retain_sets",
    "load",
    "make_row",
    "make_subjects",
    "read_mllmu",
    "read_tofu",
    "save",
    "validate_rows",
    "validate_sets",
]
