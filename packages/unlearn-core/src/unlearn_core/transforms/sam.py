"""Sharpness-aware minimization of the forget loss."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.gradients import Gradients, Grads, inner
from unlearn_core.transform import Step, Transform


@dataclass(frozen=True, kw_only=True)
class SAM(Transform):
    """Sharpness-aware unlearning.

    The forget gradient is taken at θ + ρ · g / ‖g‖, where g is the forget gradient at θ: at the weights nearby that
    undo the forgetting most, so that relearning has further to go. The retain gradient is that at θ. Every step is
    computed twice; of several transforms, those that keep an average (GRU) should come after it.

    Attributes:
        rho: ρ, the distance to the perturbed weights, over all of them together. Default 0.01, as in the paper.
    """

    paper: ClassVar[str] = "Fan et al. 2025, https://arxiv.org/abs/2502.05374"
    summary: ClassVar[str] = "Takes the forget gradient where the weights nearby would undo the forgetting most."
    needs: ClassVar[frozenset[str]] = frozenset()

    rho: float = 0.01

    def __post_init__(self) -> None:
        _checks.positive("rho", self.rho)

    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the step's gradients with the forget gradient of the perturbed weights."""
        found = step()
        norm = inner(found.forget, found.forget).sqrt()
        if norm == 0:
            return found
        with _moved(parameters, found.forget, self.rho / norm):
            return found._replace(forget=step().forget)


@contextmanager
def _moved(parameters: Mapping[str, Tensor], direction: Grads, scale: Tensor) -> Iterator[None]:
    """The weights a step along `direction`; afterwards, they are bit for bit what they were."""
    before = {name: parameter.detach().clone() for name, parameter in parameters.items()}
    try:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter += (scale * direction[name]).to(parameter.dtype)
        yield
    finally:
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(before[name])
