"""Gradient difference."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import entropy_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import kl, nll, supplied, weigh

FORGET_FORMS, RETAIN_FORMS = ("nll", "kl", "entropy"), ("nll", "kl")


@dataclass(frozen=True, kw_only=True)
class GradDiff(Method):
    """Gradient difference.

    γ · -D(forget) + α · D(retain). It pushes the model away from the answers to forget, and holds it at those to keep.
    D of each side is one of the forms that CLEAR compares, https://arxiv.org/abs/2410.18057.

    Attributes:
        forget_form: What is ascended on forget: `nll` of the answers, `kl` from the reference, or the model's
            `entropy`. Default nll, as in the paper, TOFU and OpenUnlearning.
        retain_form: What is descended on retain: `nll` of the answers, or `kl` from the reference. Default nll,
            likewise.
        forget_weight: γ, the weight of the forget term. Default 1, likewise.
        retain_weight: α, the weight of the retain term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Liu et al. 2022, https://arxiv.org/abs/2203.12817"
    summary: ClassVar[str] = "Ascends the loss of the answers to forget, descends that of the answers to keep."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_logits"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    forget_form: str = "nll"
    retain_form: str = "nll"
    forget_weight: float = 1.0
    retain_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.choice("forget_form", self.forget_form, FORGET_FORMS)
        _checks.choice("retain_form", self.retain_form, RETAIN_FORMS)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def asks(self) -> frozenset[Need]:
        """Returns what these forms need: the reference's logits for `kl` alone."""
        return self.needs if "kl" in (self.forget_form, self.retain_form) else self.needs - {"ref_logits"}

    def references(self) -> frozenset[Asked]:
        """Returns the reference's logits on each side whose form is `kl`."""
        forms = {"forget": self.forget_form, "retain": self.retain_form}
        return frozenset(Asked(side) for side, form in forms.items() if form == "kl")

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · -D(forget) + α · D(retain)."""
        forget_loss = -_distance(self.forget_form, forward, supplied(forget, "forget"))
        retain_loss = _distance(self.retain_form, forward, supplied(retain, "retain"))
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)


def _distance(form: str, forward: Forward, batch: Batch) -> Tensor:
    if form == "entropy":
        return -entropy_loss(forward(batch), batch.labels) * batch.token_share
    return kl(forward, batch) if form == "kl" else nll(forward, batch)
