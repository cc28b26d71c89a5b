"""The guards, one module each, and the table that names them."""

from unlearn_core.guard import Guard
from unlearn_core.guards.eco import ECO
from unlearn_core.guards.icul import ICUL
from unlearn_core.guards.uld import ULD

GUARDS: dict[str, type[Guard]] = {
    "eco": ECO,
    "icul": ICUL,
    "uld": ULD,
}

__all__ = ["ECO", "GUARDS", "ICUL", "ULD"]
