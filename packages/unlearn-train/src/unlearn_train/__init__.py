"""Finetuning, unlearning and whole experiments."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from unlearn_train.training import finetune, forget

__all__ = ["TrainOptions", "finetune", "forget"]

from unlearn_train.settings import TrainOptions


def __getattr__(name: str) -> Any:
    # transformers is imported when something is trained, not when the command line is read.
    if name in ("finetune", "forget"):
        from unlearn_train import training

        return getattr(training, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
