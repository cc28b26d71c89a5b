"""Finetuning on refusals."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class IDK(Method):
    """Finetuning on "I don't know".

    γ · NLL(refusals on forget) + α · NLL(retain). It pulls up refusals where the answers to forget were, and the
    answers to keep; the answers to forget are never seen.

    Attributes:
        forget_weight: γ, the weight of the refusals. Default 1, as in TOFU and OpenUnlearning.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Maini et al. 2024, https://arxiv.org/abs/2401.06121"
    summary: ClassVar[str] = "Learns to refuse the questions to forget, descends the loss of the answers to keep."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "idk"})
    together: ClassVar[tuple[Need, ...]] = ("idk", "retain")

    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · NLL(refusals on forget) + α · NLL(retain)."""
        refusals = supplied(supplied(forget, "forget").idk, "idk")
        forget_loss = nll(forward, refusals)
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
