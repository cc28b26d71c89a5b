"""Large language model unlearning."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import kl, nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class LLMU(Method):
    """Large language model unlearning.

    γ · (-NLL(forget) + ρ · NLL(random answers to the forget questions)) + α · KL(reference ‖ model) on retain. It
    pushes down the answers to forget, pulls up answers that have nothing to do with the question, and holds what the
    model says of what is to be kept.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 0.5, as in the paper's code.
        random_weight: ρ, the weight of the random answers in it. Default 2, likewise: 1 after γ.
        retain_weight: α, the weight of the divergence. Default 1, likewise.
    """

    paper: ClassVar[str] = "Yao et al. 2023, https://arxiv.org/abs/2310.10683"
    summary: ClassVar[str] = "Ascends on the answers to forget, learns random ones instead, stays near the reference."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "random", "ref_logits"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "random", "retain")

    forget_weight: float = 0.5
    random_weight: float = 2.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("random_weight", self.random_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on retain."""
        return frozenset({Asked("retain")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · (-NLL(forget) + ρ · NLL(random answers)) + α · KL(reference ‖ model) on retain."""
        forget = supplied(forget, "forget")
        mismatch = nll(forward, supplied(forget.random, "random"))
        forget_loss = self.random_weight * mismatch - nll(forward, forget)
        retain_loss = kl(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
