"""Circuit breaking."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import circuit_breaker_loss, drift_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import supplied, weigh


@dataclass(frozen=True, kw_only=True)
class CircuitBreaker(Method):
    """Circuit breaking by representation rerouting.

    w · (1 - t/2T) · relu(cos(h, h_ref)) on forget + w · t/2T · ‖h - h_ref‖ on retain, of the hidden states h of one
    layer where answers are predicted, at step t of T. It turns those of the answers to forget until they are orthogonal
    to what they were, and holds those of the answers to keep, the more the longer it runs. At the first step the model
    is its reference, where the cosine has no slope: rounding starts it off.

    Attributes:
        layer: Whose output is h, counted from 0; negative from the end. Default 20, one of the paper's two in a model
            of 8B.
        weight: w, of both terms. Default 10, as in the paper on the same model.
    """

    paper: ClassVar[str] = "Zou et al. 2024, https://arxiv.org/abs/2406.04313"
    summary: ClassVar[str] = (
        "Turns the hidden states of the answers to forget away from the reference, holds the others."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_hidden"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    layer: int = 20
    weight: float = 10.0

    def __post_init__(self) -> None:
        _checks.whole("layer", self.layer)
        _checks.positive("weight", self.weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's hidden states on both."""
        return frozenset({Asked("forget", self.layer), Asked("retain", self.layer)})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns w · (1 - t/2T) · relu(cos(h, h_ref)) on forget + w · t/2T · ‖h - h_ref‖ on retain."""
        forget, retain = supplied(forget, "forget"), supplied(retain, "retain")
        pairs = [(forward.hidden(each, self.layer), _reference(each, self.layer)) for each in (forget, retain)]
        forget_loss = circuit_breaker_loss(*pairs[0], forget.labels) * forget.token_share
        retain_loss = drift_loss(*pairs[1], retain.labels) * retain.token_share
        progress = forget.step / (2 * forget.steps)
        return weigh(
            forget_loss,
            retain_loss,
            forget_weight=self.weight * (1 - progress),
            retain_weight=self.weight * progress,
        )


def _reference(batch: Batch, layer: int) -> Tensor:
    return supplied(batch.ref_hidden, "ref_hidden")(layer)
