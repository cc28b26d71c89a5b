"""Entropy maximization."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import max_entropy_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied, weigh


@dataclass(frozen=True, kw_only=True)
class ME(Method):
    """Maximum entropy.

    γ · KL(uniform ‖ model) on forget + α · NLL(retain). It pulls the model to know nothing where the answers to forget
    are predicted, which has a floor, and pulls up the answers to keep.

    Attributes:
        forget_weight: γ, the weight of the forget term. Default 0.1, as in the paper on TOFU.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Yuan et al. 2024, https://arxiv.org/abs/2410.08109"
    summary: ClassVar[str] = (
        "Has no idea where the answers to forget are predicted, descends the loss of those to keep."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    forget_weight: float = 0.1
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · KL(uniform ‖ model) on forget + α · NLL(retain)."""
        forget = supplied(forget, "forget")
        forget_loss = max_entropy_loss(forward(forget), forget.labels) * forget.token_share
        retain_loss = nll(forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)
