"""Finetuning, unlearning and whole experiments."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unlearn_train.applying import unlearn
    from unlearn_train.training import finetune
    from unlearn_train.unlearning import forget

__all__ = ["TrainOptions", "finetune", "forget", "unlearn"]

from unlearn_train.settings import TrainOptions

_MODULES = {
    "finetune": "unlearn_train.training",
    "forget": "unlearn_train.unlearning",
    "unlearn": "unlearn_train.applying",
}


def __getattr__(name: str) -> Any:
    # transformers is imported when something is trained, not when the command line is read.
    if name in _MODULES:
        return getattr(import_module(_MODULES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
