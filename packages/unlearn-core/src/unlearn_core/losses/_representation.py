"""Losses of hidden states, where answer tokens are predicted from."""

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core.losses._answers import answer_rows, check_answers, check_like

_SAME_LAYER = "both must be the same layer's, on the same inputs."


def rmu_loss(
    hidden: Float[Tensor, "batch length width"],
    target: Float[Tensor, "batch length width"] | Float[Tensor, " width"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Returns the squared distance of the hidden states from a target, averaged over all answer tokens.

    The two terms of https://arxiv.org/abs/2403.03218: towards one vector for what is to be forgotten, and towards the
    reference's hidden states for what is to be kept. Squares are summed over the width, not averaged.

    Args:
        hidden: A layer's output, in any floating type; float16 and bfloat16 are upcast to float32.
        target: One vector for all tokens, or a reference's output of the same layer; no gradient reaches it.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> rmu_loss(torch.zeros(1, 2, 3), torch.ones(3), torch.tensor([[-100, 1]]))
        tensor(3.)
    """
    check_answers(hidden, labels, name="hidden", width="width")
    if target.shape not in (hidden.shape, hidden.shape[-1:]):
        raise ValueError(
            f"`target` must be [width] or have the shape of `hidden`, {list(hidden.shape)}, got {list(target.shape)}."
        )
    aim = target if target.ndim == 1 else answer_rows(target, labels)
    return (answer_rows(hidden, labels) - aim.detach()).square().sum(-1).mean()


def circuit_breaker_loss(
    hidden: Float[Tensor, "batch length width"],
    ref_hidden: Float[Tensor, "batch length width"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Returns relu(cos(model, reference)) of the hidden states, averaged over all answer tokens.

    The rerouting term of https://arxiv.org/abs/2406.04313: zero once they are orthogonal, or point apart.

    Args:
        hidden: A layer's output, in any floating type; float16 and bfloat16 are upcast to float32.
        ref_hidden: The reference's output of the same layer; no gradient reaches it.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> circuit_breaker_loss(torch.ones(1, 2, 4), torch.ones(1, 2, 4), torch.tensor([[-100, 1]]))
        tensor(1.)
    """
    return F.cosine_similarity(*_pairs(hidden, ref_hidden, labels), dim=-1).relu().mean()


def drift_loss(
    hidden: Float[Tensor, "batch length width"],
    ref_hidden: Float[Tensor, "batch length width"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Returns the distance of the hidden states from the reference's, averaged over all answer tokens.

    The retain term of https://arxiv.org/abs/2406.04313; unlike in `rmu_loss`, distances are not squared.

    Args:
        hidden: A layer's output, in any floating type; float16 and bfloat16 are upcast to float32.
        ref_hidden: The reference's output of the same layer; no gradient reaches it.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> drift_loss(torch.zeros(1, 2, 4), torch.ones(1, 2, 4), torch.tensor([[-100, 1]]))
        tensor(2.)
    """
    here, there = _pairs(hidden, ref_hidden, labels)
    distance: Tensor = torch.linalg.vector_norm(here - there, dim=-1).mean()
    return distance


def _pairs(hidden: Tensor, ref_hidden: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The two hidden states of every answer token."""
    check_answers(hidden, labels, name="hidden", width="width")
    check_like("hidden", ref_hidden, hidden, remedy=_SAME_LAYER)
    return answer_rows(hidden, labels), answer_rows(ref_hidden.detach(), labels)
