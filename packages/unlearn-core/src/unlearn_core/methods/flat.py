"""Loss adjustment with forget data alone."""

from dataclasses import dataclass
from typing import ClassVar

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import flat_loss, sequence_probs
from unlearn_core.losses._preference import DIVERGENCES
from unlearn_core.method import LossParts, Method, Need
from unlearn_core.methods._terms import supplied


@dataclass(frozen=True, kw_only=True)
class FLAT(Method):
    """Forget-data-only loss adjustment.

    γ · FLAT(refusals against answers, on forget). It pulls up the mean token probability of refusals and pushes down
    that of the answers to forget, as far as they can be told apart by an f-divergence; neither a reference nor rows to
    keep.

    Attributes:
        divergence: `tv`, `kl`, `js` or `pearson`. Default tv, which the paper finds best.
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
    """

    paper: ClassVar[str] = "Wang et al. 2024, https://arxiv.org/abs/2410.11143"
    summary: ClassVar[str] = "Parts refusals from the answers to forget by an f-divergence, with nothing else."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "idk"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "idk")

    divergence: str = "tv"
    forget_weight: float = 1.0

    def __post_init__(self) -> None:
        _checks.choice("divergence", self.divergence, DIVERGENCES)
        _checks.positive("forget_weight", self.forget_weight)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · FLAT(refusals against answers, on forget); `retain` is not read."""
        forget = supplied(forget, "forget")
        refusals = supplied(forget.idk, "idk")
        template, answer = (sequence_probs(forward(each), each.labels) for each in (refusals, forget))
        forget_loss = flat_loss(template, answer, divergence=self.divergence) * forget.sequence_share
        return LossParts(self.forget_weight * forget_loss, forget_loss, None)
