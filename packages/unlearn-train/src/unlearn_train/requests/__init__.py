"""Deletion requests, served one after another, with a record of each."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_train.requests.audit import export
    from unlearn_train.requests.gates import Gate, Verdict
    from unlearn_train.requests.ledger import Ledger, Request, State, Status
    from unlearn_train.requests.serving import Requests
    from unlearn_train.requests.settings import RequestOptions

__all__ = ["Gate", "Ledger", "Request", "RequestOptions", "Requests", "State", "Status", "Verdict", "export"]

_MODULES = {
    "audit": ("export",),
    "gates": ("Gate", "Verdict"),
    "ledger": ("Ledger", "Request", "State", "Status"),
    "serving": ("Requests",),
    "settings": ("RequestOptions",),
}


def __getattr__(name: str) -> Any:
    # What reads rows and models is imported when it is used, not when the command line is read.
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
