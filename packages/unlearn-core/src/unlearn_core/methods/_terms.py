"""What several methods' losses are made of."""

from typing import TypeVar

from torch import Tensor

from unlearn_core.losses import nll_loss
from unlearn_core.method import Batch, Forward, LossParts

T = TypeVar("T")

_REMEDY = {
    "forget": "pass a batch of rows to forget.",
    "retain": "pass a batch of rows to keep.",
    "idk": "set `forget.idk` to the same questions with refusals for answers.",
    "ref_logps": "score the answers with the reference model first, and set `Batch.ref_logps`.",
    "ref_logits": "set `Batch.ref_logits` to a function that runs the reference model on the batch.",
}


def supplied(value: T | None, need: str) -> T:
    """Returns `value`, or says what is missing."""
    if value is None:
        raise ValueError(f"this method needs `{need}`, which is missing: {_REMEDY[need]}")
    return value


def nll(forward: Forward, batch: Batch) -> Tensor:
    """Mean negative log-likelihood of the batch's answer tokens, times its share of the step."""
    return nll_loss(forward(batch), batch.labels) * batch.token_share


def weigh(forget: Tensor, retain: Tensor, *, forget_weight: float, retain_weight: float) -> LossParts:
    """γ · forget + α · retain."""
    return LossParts(forget_weight * forget + retain_weight * retain, forget, retain)
