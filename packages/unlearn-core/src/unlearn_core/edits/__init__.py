"""The weight edits, one module each, and the table that names them."""

from unlearn_core.edit import Edit
from unlearn_core.edits.manu import MANU
from unlearn_core.edits.task_arithmetic import TaskArithmetic

EDITS: dict[str, type[Edit]] = {
    "task_arithmetic": TaskArithmetic,
    "manu": MANU,
}

__all__ = ["EDITS", "MANU", "TaskArithmetic"]
