"""Metrics of machine unlearning, computed from evidence on disk."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_metrics._compare import compare
    from unlearn_metrics._compute import Results, compute
    from unlearn_metrics._estimates import Number
    from unlearn_metrics._overview import render_table
    from unlearn_metrics._paired import paired
    from unlearn_metrics._rows import row_metrics
    from unlearn_metrics._sources import read
    from unlearn_metrics.evidence import GENERATIONS_SCHEMA, OPTIONAL_SCORES_SCHEMA, SCORES_SCHEMA, Evidence
    from unlearn_metrics.logs import Log, read_log

__all__ = [
    "GENERATIONS_SCHEMA",
    "OPTIONAL_SCORES_SCHEMA",
    "SCORES_SCHEMA",
    "Evidence",
    "Log",
    "Number",
    "Results",
    "compare",
    "compute",
    "paired",
    "read",
    "read_log",
    "render_table",
    "row_metrics",
]

__version__ = "0.1.0"

# Each name is imported when it is first asked for, so that importing the package costs next to nothing.
_MODULES = {
    "_compare": ("compare",),
    "_compute": ("Results", "compute"),
    "_estimates": ("Number",),
    "_overview": ("render_table",),
    "_paired": ("paired",),
    "_rows": ("row_metrics",),
    "_sources": ("read",),
    "evidence": ("GENERATIONS_SCHEMA", "OPTIONAL_SCORES_SCHEMA", "SCORES_SCHEMA", "Evidence"),
    "logs": ("Log", "read_log"),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
