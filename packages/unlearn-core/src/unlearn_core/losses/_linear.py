"""Log-probabilities of answer tokens straight from the last hidden states, a chunk of tokens at a time.

What is large in a language model's loss is the matrix of logits, [tokens, vocabulary] in float32, of which autograd
keeps several. Here a chunk of its rows exists at a time, and the backward pass computes it again.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.autograd.function import once_differentiable

from unlearn_core import _checks
from unlearn_core.losses._answers import answer_mask, answer_targets, check_answers


class TokenStats(NamedTuple):
    """What is said of every answer token of a batch, row after row.

    Attributes:
        logp: Log-probability, in nats.
        hit: Whether it is the likeliest token of the vocabulary.
        mean: Mean over the vocabulary of log p at its position.
        std: Standard deviation over the vocabulary of log p at its position, of the whole vocabulary, not of a sample.
    """

    logp: Float[Tensor, " tokens"]
    hit: Bool[Tensor, " tokens"]
    mean: Float[Tensor, " tokens"]
    std: Float[Tensor, " tokens"]


def linear_token_logps(
    hidden: Float[Tensor, "batch length width"],
    weight: Float[Tensor, "vocab width"],
    labels: Int[Tensor, "batch length"],
    *,
    chunk: int,
) -> Float[Tensor, " tokens"]:
    """Returns log p of every answer token, as `token_logps(hidden @ weight.T, labels)`, in a fraction of the memory.

    No more than `chunk` rows of logits exist at any time, neither in the forward nor in the backward pass, which
    computes them again. Gradients reach `hidden` and `weight`, once: there is no second derivative.

    Args:
        hidden: The last hidden states, as they enter the output embedding.
        weight: Of the output embedding.
        labels: Token ids, aligned with the input; -100 is ignored.
        chunk: Tokens at a time; 1,024 of a vocabulary of 128,000 are half a gigabyte.

    Raises:
        ValueError: If `chunk` is not positive, the shapes disagree, or a row has no answer token.

    Example:
        >>> hidden, labels = torch.zeros(1, 3, 2), torch.tensor([[-100, 1, 0]])
        >>> linear_token_logps(hidden, torch.ones(4, 2), labels, chunk=1).exp()
        tensor([0.2500, 0.2500])
    """
    states, weight = _chosen(hidden, weight, labels, chunk)
    logps: Tensor = _LinearLogps.apply(  # type: ignore[no-untyped-call]
        states, weight, answer_targets(labels), chunk
    )
    return logps


@torch.no_grad()
def linear_token_stats(
    hidden: Float[Tensor, "batch length width"],
    weight: Float[Tensor, "vocab width"],
    labels: Int[Tensor, "batch length"],
    *,
    chunk: int,
) -> TokenStats:
    """Returns log p of every answer token, whether it is the likeliest, and mean and deviation over the vocabulary.

    Args:
        hidden: The last hidden states, as they enter the output embedding.
        weight: Of the output embedding.
        labels: Token ids, aligned with the input; -100 is ignored.
        chunk: Tokens at a time.

    Raises:
        ValueError: If `chunk` is not positive, the shapes disagree, or a row has no answer token.

    Example:
        >>> hidden, labels = torch.ones(1, 2, 1), torch.tensor([[-100, 1]])
        >>> linear_token_stats(hidden, torch.tensor([[0.0], [1.0]]), labels, chunk=8).hit
        tensor([True])
    """
    states, weight = _chosen(hidden, weight, labels, chunk)
    found = []
    targets = answer_targets(labels)
    for part in _parts(len(states), chunk):
        logps = _log_softmax(states[part], weight)
        std, mean = torch.std_mean(logps, dim=-1, correction=0)
        found.append((_at(logps, targets[part]), logps.argmax(-1) == targets[part], mean, std))
    return TokenStats(*(torch.cat(each) for each in zip(*found, strict=True)))


class _LinearLogps(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, chunk: int) -> Tensor:
        ctx.save_for_backward(states, weight, targets)
        ctx.chunk = chunk
        parts = _parts(len(states), chunk)
        return torch.cat([_at(_log_softmax(states[part], weight), targets[part]) for part in parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        states, weight, targets = ctx.saved_tensors
        wants_states, wants_weight = ctx.needs_input_grad[:2]
        grad_states = torch.empty_like(states) if wants_states else None
        # summed over many chunks: half precision would lose the small ones
        grad_weight = torch.zeros_like(weight, dtype=_fine(weight)) if wants_weight else None
        for part in _parts(len(states), ctx.chunk):
            slope = _slope(states[part], weight, targets[part], grad[part])
            if grad_states is not None:
                grad_states[part] = slope @ weight
            if grad_weight is not None:
                grad_weight.addmm_(slope.T.to(grad_weight), states[part].to(grad_weight))
        return grad_states, None if grad_weight is None else grad_weight.to(weight.dtype), None, None


def _slope(rows: Tensor, weight: Tensor, targets: Tensor, grad: Tensor) -> Tensor:
    """The gradient at the logits of some tokens: grad · (onehot - softmax)."""
    slope = _log_softmax(rows, weight).exp_().mul_(-grad[:, None])
    places = torch.arange(len(targets), device=targets.device)
    slope[places, targets] += grad
    return slope.to(rows.dtype)


def _log_softmax(rows: Tensor, weight: Tensor) -> Tensor:
    """Log p of the whole vocabulary at some tokens, in float32 or finer; at most two such matrices exist at once."""
    logits = (rows @ weight.T).to(_fine(rows))
    return logits.sub_(logits.logsumexp(-1, keepdim=True))


def _at(logps: Tensor, targets: Tensor) -> Tensor:
    return logps.gather(-1, targets[:, None])[:, 0]


def _fine(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)


def _parts(count: int, chunk: int) -> Iterator[slice]:
    return (slice(start, start + chunk) for start in range(0, count, chunk))


def _chosen(hidden: Tensor, weight: Tensor, labels: Tensor, chunk: int) -> tuple[Tensor, Tensor]:
    """The hidden states that an answer token is predicted from, [tokens, width], and the weight in the same type."""
    _checks.whole("chunk", chunk, least=1)
    check_answers(hidden, labels, name="hidden", width="width")
    if weight.ndim != 2 or weight.shape[1] != hidden.shape[-1]:
        raise ValueError(
            f"`weight` must be [vocabulary, {hidden.shape[-1]}] for `hidden` of {list(hidden.shape)}, "
            f"got {list(weight.shape)}: give the output embedding's own."
        )
    rows, columns = answer_mask(labels).nonzero(as_tuple=True)
    states = hidden.flatten(0, 1).index_select(0, rows * labels.shape[1] + columns)
    if torch.is_autocast_enabled(hidden.device.type):  # the backward pass runs outside of it
        dtype = torch.get_autocast_dtype(hidden.device.type)
        return states.to(dtype), weight.to(dtype)
    return states, weight
