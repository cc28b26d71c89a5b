"""Cross-entropy unlearning."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import ceu_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import supplied


@dataclass(frozen=True, kw_only=True)
class CEU(Method):
    """Cross-entropy unlearning.

    γ · CE-U(forget). It pulls the model to what it says itself with the answers to forget left out, so that the rest of
    the distribution keeps its proportions. All answer tokens count; the paper's runs leave out the first of every
    answer.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
    """

    paper: ClassVar[str] = "Yang 2025, https://arxiv.org/abs/2503.01224"
    summary: ClassVar[str] = "Imitates itself with the answers to forget made impossible."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget"})

    forget_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · CE-U(forget); `retain` is not read."""
        forget = supplied(forget, "forget")
        forget_loss = ceu_loss(forward(forget), forget.labels) * forget.token_share
        return LossParts(self.forget_weight * forget_loss, forget_loss, None)
