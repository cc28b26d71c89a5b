"""What several methods' losses are made of."""

from typing import TypeVar

from torch import Tensor

from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import dpo_loss, kl_loss, sequence_sums
from unlearn_core.method import LossParts

T = TypeVar("T")

_REMEDY = {
    "forget": "pass a batch of rows to forget.",
    "retain": "pass a batch of rows to keep.",
    "idk": "set `forget.idk` to the same questions with refusals for answers.",
    "alternate": "set `forget.alternate` to the same questions with other plausible answers.",
    "random": "set `forget.random` to the same questions with answers of random rows to keep.",
    "shuffled": "set `forget.shuffled` to the same questions with answers of other rows to forget.",
    "ref_logps": "score the answers with the reference model first, and set `Batch.ref_logps`.",
    "ref_logits": "set `Batch.ref_logits` to a function that runs the reference model on the batch.",
    "ref_hidden": "set `Batch.ref_hidden` to a function that runs the reference model on the batch up to a layer.",
    "dual": "set `Batch.state` to what `start` returns, and later to what `advance` does.",
}


def supplied(value: T | None, need: str) -> T:
    """Returns `value`, or says what is missing."""
    if value is None:
        raise ValueError(f"this method needs `{need}`, which is missing: {_REMEDY[need]}")
    return value


def nll(forward: Forward, batch: Batch) -> Tensor:
    """Mean negative log-likelihood of the batch's answer tokens, times its share of the step."""
    return -forward.token_logps(batch).mean() * batch.token_share


def kl(forward: Forward, batch: Batch) -> Tensor:
    """KL(reference ‖ model) at the batch's answer tokens, times its share of the step."""
    ref_logits = supplied(batch.ref_logits, "ref_logits")()
    return kl_loss(forward(batch), ref_logits, batch.labels) * batch.token_share


def scored(forward: Forward, batch: Batch) -> tuple[Tensor, Tensor]:
    """Log-probability of each answer, under the model and under the reference."""
    ref_logps = supplied(batch.ref_logps, "ref_logps")
    return sequence_sums(forward.token_logps(batch), batch.labels), ref_logps


def preference(forward: Forward, forget: Batch, preferred: Batch, *, beta: float) -> Tensor:
    """DPO of the preferred answers over those to forget, times the batch's share of the step's sequences."""
    win, ref_win = scored(forward, preferred)
    lose, ref_lose = scored(forward, forget)
    return dpo_loss(win, ref_win, lose, ref_lose, beta=beta) * forget.sequence_share


def weigh(forget: Tensor, retain: Tensor, *, forget_weight: float, retain_weight: float) -> LossParts:
    """γ · forget + α · retain."""
    return LossParts(forget_weight * forget + retain_weight * retain, forget, retain)
