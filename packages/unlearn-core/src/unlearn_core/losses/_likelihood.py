"""Losses of the likelihood of the answer, token by token."""

import math

import torch
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.losses._answers import token_logps


def nll_loss(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """Returns the mean negative log-likelihood, in nats, over all answer tokens of the batch.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> nll_loss(torch.zeros(1, 3, 4), torch.tensor([[-100, 1, 0]]))  # log 4
        tensor(1.3863)
    """
    return -token_logps(logits, labels).mean()


def wga_loss(
    logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"], *, beta: float
) -> Float[Tensor, ""]:
    """Weighted gradient ascent: the ascent on a token fades as its probability does.

    Returns the mean over all answer tokens of p^β · log p, where no gradient reaches the weight p^β, of
    https://arxiv.org/abs/2502.19301. At β = 0 it is gradient ascent.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.
        beta: Exponent of the weight; the larger, the sooner a token is let go.

    Raises:
        ValueError: If `beta` is negative, the shapes disagree, or a row has no answer token.

    Example:
        >>> wga_loss(torch.zeros(1, 3, 4), torch.tensor([[-100, 1, 0]]), beta=1.0)  # 1/4 log 1/4
        tensor(-0.3466)
    """
    _checks.non_negative("beta", beta)
    logps = token_logps(logits, labels)
    return ((beta * logps.detach()).exp() * logps).mean()


def satimp_loss(
    logits: Float[Tensor, "batch length vocab"],
    labels: Int[Tensor, "batch length"],
    *,
    beta1: float,
    beta2: float,
) -> Float[Tensor, ""]:
    """Ascent on the tokens that are neither forgotten yet (saturation) nor certain anyhow (importance).

    Returns the mean over all answer tokens of p^β₁ · (1 - p)^β₂ · log p, where no gradient reaches the weight, of
    https://arxiv.org/abs/2505.11953. At β₂ = 0 it is `wga_loss` with β₁.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.
        beta1: Exponent of p; the larger, the sooner a token is let go.
        beta2: Exponent of 1 - p; the larger, the less tokens count that the model is sure of.

    Raises:
        ValueError: If an exponent is negative, the shapes disagree, or a row has no answer token.

    Example:
        >>> satimp_loss(torch.zeros(1, 3, 4), torch.tensor([[-100, 1, 0]]), beta1=1.0, beta2=1.0)
        tensor(-0.2599)
    """
    _checks.non_negative("beta1", beta1)
    _checks.non_negative("beta2", beta2)
    logps = token_logps(logits, labels)
    fixed = logps.detach()
    weight = (beta1 * fixed).exp() * (-torch.expm1(fixed)) ** beta2
    return (weight * logps).mean()


def jensun_loss(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """Returns the Jensen-Shannon divergence of the model from its labels, one-hot, averaged over all answer tokens.

    That is log 2 + ½ (p log p - (1 + p) log (1 + p)) for a label of probability p: the forget term of
    https://arxiv.org/abs/2509.02820, whose labels are a refusal's. Between 0 (p = 1) and log 2 (p = 0), so that no
    token can pull without bound.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> jensun_loss(torch.tensor([[[99.0, 0.0], [0.0, 0.0]]]), torch.tensor([[-100, 1]]))  # log 2
        tensor(0.6931)
    """
    logps = token_logps(logits, labels)
    probs = logps.exp()
    return math.log(2) + 0.5 * (probs * logps - (1 + probs) * torch.log1p(probs)).mean()
