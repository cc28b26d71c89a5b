"""A step that would leave the model with weights that are not finite is not taken."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.nn.utils import get_total_norm
from transformers import TrainerCallback, TrainingArguments
from transformers.trainer_callback import TrainerControl, TrainerState

UPDATE = 10.0
"""Adam moves no weight by more than some three times the learning rate; this leaves room."""


class FiniteSteps(TrainerCallback):
    """Stops a training before a step that is not finite, so that the model keeps its last good weights.

    Args:
        terms: of the loss, as last computed; what the message shows.
        norm: of the gradients of the step, where DeepSpeed holds them. It has then looked at them itself, and has not
            taken the step if they are not finite.
    """

    def __init__(self, terms: dict[str, float], norm: Callable[[], float | None] | None = None) -> None:
        self.terms, self.norm = terms, norm

    def on_pre_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **parts: Any
    ) -> None:
        """Look at the gradients, and at how far the step can go.

        Raises:
            FloatingPointError: a gradient is not finite, or a weight would not be.
        """
        model: Module = parts["model"]
        place = f"at step {state.global_step + 1} ({self.terms}); lower the learning rate."
        if self.norm is not None:
            norm = self.norm()
            if norm is not None and not 0 <= float(norm) < math.inf:  # DeepSpeed has said -1 for one that is not finite
                raise FloatingPointError(f"the gradient is not finite {place}")
            return
        moved = [value for value in model.parameters() if value.grad is not None]
        if not math.isfinite(_largest([value.grad for value in moved])):
            raise FloatingPointError(f"the gradient{_broken(model)} is not finite {place}")
        groups = parts["optimizer"].param_groups
        rate, decay = (max(group.get(option, 0.0) for group in groups) for option in ("lr", "weight_decay"))
        for dtype in {value.dtype for value in moved}:
            reach = _largest([value for value in moved if value.dtype == dtype]) * (1 + rate * decay)
            if not reach + UPDATE * rate < torch.finfo(dtype).max:
                raise FloatingPointError(f"weights would not be finite after a step of size {rate} {place}")


def _broken(model: Module) -> str:
    """Of which parameter the first gradient is that is not finite; nothing where clipping has spread a NaN to all."""
    gradients = [(name, value.grad) for name, value in model.named_parameters() if value.grad is not None]
    names = [name for name, grad in gradients if not torch.isfinite(grad).all()]
    return f" of `{names[0]}`" if len(names) < len(gradients) else ""


def _largest(values: list[Tensor | None]) -> float:
    """The largest number, without its sign, in any of the tensors; NaN where one holds NaN."""
    tensors = [value.detach() for value in values if value is not None]
    return float(get_total_norm(tensors, math.inf)) if tensors else 0.0
