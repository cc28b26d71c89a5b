"""Self-distillation with the answer lowered."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import undial_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import supplied


@dataclass(frozen=True, kw_only=True)
class UNDIAL(Method):
    """Unlearning by self-distillation on adjusted logits.

    γ · UNDIAL(forget). It pulls the model to what the reference says with the logits of the answers to forget lowered
    by β, a fixed aim, so that it cannot run away.

    Attributes:
        beta: β, by how much the logit of an answer token is lowered. Default 10, as in OpenUnlearning.
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
    """

    paper: ClassVar[str] = "Dong et al. 2024, https://arxiv.org/abs/2402.10052"
    summary: ClassVar[str] = "Imitates the reference with the logits of the answers to forget lowered."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "ref_logits"})

    beta: float = 10.0
    forget_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("beta", self.beta)
        _checks.positive("forget_weight", self.forget_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on forget."""
        return frozenset({Asked("forget")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · UNDIAL(forget); `retain` is not read."""
        forget = supplied(forget, "forget")
        ref_logits = supplied(forget.ref_logits, "ref_logits")()
        forget_loss = undial_loss(forward(forget), ref_logits, forget.labels, beta=self.beta) * forget.token_share
        return LossParts(self.forget_weight * forget_loss, forget_loss, None)
