"""Alternating ascent and descent from a teacher."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import kl_loss, nll_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import kl, supplied


@dataclass(frozen=True, kw_only=True)
class SCRUB(Method):
    """Scalable remembering and unlearning unbound.

    Every other step, as long as it ascends: γ · -KL(reference ‖ model) on forget; otherwise
    α · NLL(retain) + κ · KL(reference ‖ model) on retain. It drives the model away from the reference on what is to be
    forgotten, and back on what is to be kept; the last steps repair alone. The first ascent, from the reference
    itself, has no slope.

    Attributes:
        ascent: The share of the run in which every other step ascends. Default 0.5: the paper ascends in its first
            epochs alone, as many as the model needs.
        forget_weight: γ, the weight of the divergence that is sought. Default 1, as in the paper.
        retain_weight: α, the weight of the retain NLL. Default 0.99, as in the paper's code.
        kl_weight: κ, the weight of the divergence that is avoided. Default 0.001, likewise.
    """

    paper: ClassVar[str] = "Kurmanji et al. 2023, https://arxiv.org/abs/2302.09880"
    summary: ClassVar[str] = "Leaves the reference on what is to be forgotten and returns on the rest, in turns."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_logits"})

    ascent: float = 0.5
    forget_weight: float = 1.0
    retain_weight: float = 0.99
    kl_weight: float = 0.001

    def __post_init__(self) -> None:
        _checks.fraction("ascent", self.ascent)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.positive("retain_weight", self.retain_weight)
        _checks.non_negative("kl_weight", self.kl_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on both."""
        return frozenset({Asked("forget"), Asked("retain")})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · -KL on forget, or α · NLL + κ · KL on retain, by the step."""
        forget, retain = supplied(forget, "forget"), supplied(retain, "retain")
        if forget.step % 2 == 0 and forget.step < self.ascent * forget.steps:
            forget_loss = -kl(forward, forget)
            return LossParts(self.forget_weight * forget_loss, forget_loss, None)
        ref_logits, logits = supplied(retain.ref_logits, "ref_logits")(), forward(retain)
        retain_loss = nll_loss(logits, retain.labels) * retain.token_share
        drift = kl_loss(logits, ref_logits, retain.labels) * retain.token_share
        return LossParts(self.retain_weight * retain_loss + self.kl_weight * drift, None, retain_loss)
