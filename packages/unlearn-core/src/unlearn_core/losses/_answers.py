"""From logits to the log-probabilities of answer tokens, and of nothing else."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

IGNORED = -100


class SequenceLogps(NamedTuple):
    """Log-probabilities of whole answers.

    Attributes:
        sum: Sum of the log-probabilities of each answer's tokens, in nats.
        count: Number of answer tokens of each sequence.
    """

    sum: Float[Tensor, " batch"]
    count: Int[Tensor, " batch"]  # type: ignore[assignment]  # hides tuple.count, which nobody needs here


def answer_mask(labels: Int[Tensor, "batch length"]) -> Bool[Tensor, "batch length-1"]:
    """Marks where `labels`, shifted by one, hold an answer token: entry t is about the label at t + 1."""
    return labels[:, 1:] != IGNORED


def token_logps(
    logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]
) -> Float[Tensor, " tokens"]:
    """Returns log p of every answer token of the batch, row after row.

    Equal to `logits.float().log_softmax(-1)` gathered at the shifted labels, but only answer positions are upcast, so
    the float32 matrix is [answer tokens, vocabulary] rather than [batch, length, vocabulary].

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> labels = torch.tensor([[-100, 1, 0], [-100, -100, 2]])
        >>> token_logps(torch.zeros(2, 3, 4), labels).exp()
        tensor([0.2500, 0.2500, 0.2500])
    """
    check_answers(logits, labels)
    return answer_log_softmax(logits, labels).gather(-1, answer_targets(labels)[:, None])[:, 0]


def sequence_logps(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> SequenceLogps:
    """Returns the sum of log p over each sequence's answer tokens, and their number.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> labels = torch.tensor([[-100, 1, 0], [-100, -100, 2]])
        >>> sequence_logps(torch.zeros(2, 3, 4), labels)
        SequenceLogps(sum=tensor([-2.7726, -1.3863]), count=tensor([2, 1]))
    """
    return SequenceLogps(sequence_sums(token_logps(logits, labels), labels), answer_mask(labels).sum(1))


def sequence_sums(values: Float[Tensor, " tokens"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, " batch"]:
    """Returns the sum over each sequence of one number an answer token.

    Args:
        values: Row after row, as `token_logps` returns them.
        labels: Token ids, aligned with the input; -100 is ignored.

    Example:
        >>> sequence_sums(torch.tensor([1.0, 2.0, 4.0]), torch.tensor([[-100, 1, 0], [-100, -100, 2]]))
        tensor([3., 4.])
    """
    mask = answer_mask(labels)
    # unlike index_add, deterministic on every device
    return values.new_zeros(mask.shape).masked_scatter(mask, values).sum(1)


def sequence_probs(
    logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]
) -> Float[Tensor, " batch"]:
    """Returns the mean probability of each sequence's answer tokens: not their product, so always in [0, 1].

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> labels = torch.tensor([[-100, 1, 0], [-100, -100, 2]])
        >>> sequence_probs(torch.zeros(2, 3, 4), labels)
        tensor([0.2500, 0.2500])
    """
    return sequence_sums(token_logps(logits, labels).exp(), labels) / answer_mask(labels).sum(1)


def answer_rows(values: Float[Tensor, "batch length width"], labels: Int[Tensor, "batch length"]) -> Tensor:
    """Returns the rows of `values` from which an answer token is predicted, in float32 or finer: [tokens, width]."""
    length = labels.shape[1]
    rows, columns = answer_mask(labels).nonzero(as_tuple=True)
    # one index_select, because slicing first would cost a second gradient of the size of all values
    chosen = values.flatten(0, 1).index_select(0, rows * length + columns)
    return chosen.to(torch.promote_types(values.dtype, torch.float32))


def answer_log_softmax(
    logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]
) -> Float[Tensor, "tokens vocab"]:
    """Returns log p of the whole vocabulary where an answer token is predicted, in float32 or finer."""
    return F.log_softmax(answer_rows(logits, labels), dim=-1)


def answer_targets(labels: Int[Tensor, "batch length"]) -> Int[Tensor, " tokens"]:
    """Returns the answer tokens of the batch, row after row."""
    return labels[:, 1:][answer_mask(labels)]


def check_answers(logits: Tensor, labels: Tensor, *, name: str = "logits", width: str = "vocabulary") -> None:
    """Refuses shapes that disagree and rows without an answer token."""
    if logits.ndim != 3 or logits.shape[:2] != labels.shape:
        raise ValueError(
            f"`{name}` must be [batch, length, {width}] and `labels` [batch, length], "
            f"got {list(logits.shape)} and {list(labels.shape)}."
        )
    if len(labels) == 0:
        raise ValueError("`labels` has no rows: there is nothing to take a mean over.")
    empty = (~answer_mask(labels).any(1)).nonzero()[:, 0].tolist()
    if empty:
        raise ValueError(
            f"row {empty[0]} of `labels` has no answer token (all is {IGNORED} after the shift): "
            "drop the row, or raise the maximum length so that its answer is not cut off."
        )


def check_like(name: str, value: Tensor, other: Tensor, *, remedy: str) -> None:
    """Refuses a reference whose shape is not that of what it is compared with."""
    if value.shape != other.shape:
        raise ValueError(
            f"`ref_{name}` must have the shape of `{name}`, {list(other.shape)}, got {list(value.shape)}: {remedy}"
        )
