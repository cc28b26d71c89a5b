"""Gradient ascent."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied


@dataclass(frozen=True, kw_only=True)
class GA(Method):
    """Gradient ascent.

    γ · -NLL(forget). It pushes down the probability of the answers to forget, without bound and with nothing that
    holds the rest: few steps at a low learning rate, or the model is lost.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
    """

    paper: ClassVar[str] = "Jang et al. 2023, https://arxiv.org/abs/2210.01504"
    summary: ClassVar[str] = "Ascends the loss of the answers to forget."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget"})

    forget_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · -NLL(forget); `retain` is not read."""
        forget_loss = -nll(forward, supplied(forget, "forget"))
        return LossParts(self.forget_weight * forget_loss, forget_loss, None)
