"""Primal-dual unlearning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import margin_loss
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import nll, supplied


@dataclass(frozen=True, kw_only=True)
class PDU(Method):
    """Primal-dual unlearning.

    γ · margin(forget) + λ · (NLL(retain) - ε), where λ rises by η · (NLL(retain) - ε) a step and stays at or above 0.
    It pulls the model to know nothing where the answers to forget are predicted, and holds the loss of the answers to
    keep at ε: the weight of that finds itself.

    Attributes:
        tolerance: ε, the NLL that the answers to keep may have, in nats a token; take somewhat more than that of the
            model before unlearning. Default 0.3, as the authors do on TOFU.
        dual: λ of the first step. Default 50, as the authors advise.
        dual_step: η, the step size of λ. Default 1, as in the paper's code, which holds λ for some epochs first; here
            it moves from the first step on.
        forget_weight: γ, the weight of the forget term. Default 1, likewise.
    """

    paper: ClassVar[str] = "Entesari et al. 2025, https://arxiv.org/abs/2506.05314"
    summary: ClassVar[str] = (
        "Flattens the logits where the answers to forget are, within a bound on the loss of those to keep."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    tolerance: float = 0.3
    dual: float = 50.0
    dual_step: float = 1.0
    forget_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.non_negative("tolerance", self.tolerance)
        _checks.non_negative("dual", self.dual)
        _checks.non_negative("dual_step", self.dual_step)
        _checks.positive("forget_weight", self.forget_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · margin(forget) + λ · (NLL(retain) - ε)."""
        forget, retain = supplied(forget, "forget"), supplied(retain, "retain")
        dual = supplied(retain.state.get("dual"), "dual")
        forget_loss = margin_loss(forward(forget), forget.labels) * forget.token_share
        retain_loss = nll(forward, retain)
        excess = retain_loss - self.tolerance * retain.token_share
        return LossParts(self.forget_weight * forget_loss + dual * excess, forget_loss, retain_loss)

    def start(self) -> dict[str, float]:
        """Returns the first λ, as `dual`."""
        return {"dual": self.dual}

    def advance(self, state: Mapping[str, float], terms: Mapping[str, float]) -> dict[str, float]:
        """Returns the next λ: higher while the answers to keep are worse than tolerated, lower otherwise."""
        return {"dual": max(0.0, state["dual"] + self.dual_step * (terms["retain"] - self.tolerance))}
