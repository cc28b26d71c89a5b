"""Losses of the log-probability of whole answers, relative to a reference or to their length."""

import math
from collections.abc import Callable

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core import _checks


def npo_loss(logps: Float[Tensor, " batch"], ref_logps: Float[Tensor, " batch"], *, beta: float) -> Float[Tensor, ""]:
    """Negative preference optimization: the dispreferred half of DPO, whose ascent fades as the answer is forgotten.

    Returns -2/β · mean log σ(-β · (log p_θ - log p_ref)), of https://arxiv.org/abs/2404.05868. As β → 0 its
    gradient becomes that of `logps.mean()`: gradient ascent on the answer's negative log-likelihood.

    Args:
        logps: Sum of log p over each answer's tokens.
        ref_logps: The same under the reference, usually the model before unlearning.
        beta: Inverse temperature; the larger, the sooner the loss lets go of an answer.

    Raises:
        ValueError: If `beta` is not positive, the shapes disagree or the batch is empty.

    Example:
        >>> npo_loss(torch.tensor([-3.0]), torch.tensor([-3.0]), beta=2.0)  # log 2
        tensor(0.6931)
    """
    _checks.positive("beta", beta)
    _check_sequences(logps=logps, ref_logps=ref_logps)
    return -2 / beta * F.logsigmoid(-beta * (logps - ref_logps)).mean()


def simnpo_loss(
    logps: Float[Tensor, " batch"], lengths: Int[Tensor, " batch"], *, beta: float, delta: float
) -> Float[Tensor, ""]:
    """NPO without a reference: the mean log-probability of a token takes the place of the ratio.

    Returns -2/β · mean log σ(β · (-log p_θ / length - δ)), of https://arxiv.org/abs/2410.07163, whose γ is βδ here.

    Args:
        logps: Sum of log p over each answer's tokens.
        lengths: Number of answer tokens of each sequence.
        beta: Inverse temperature.
        delta: Margin, in nats a token: the negative log-likelihood that forgetting aims beyond.

    Raises:
        ValueError: If `beta` is not positive, `delta` is not finite, a length is below 1, the shapes disagree or the
            batch is empty.

    Example:
        >>> simnpo_loss(torch.tensor([-6.0]), torch.tensor([3]), beta=1.0, delta=2.0)  # 2 log 2
        tensor(1.3863)
    """
    _checks.positive("beta", beta)
    _checks.number("delta", delta)
    _check_sequences(logps=logps, lengths=lengths)
    if (lengths < 1).any():
        raise ValueError(f"`lengths` must be at least 1, got {lengths.min().item()}: drop the rows without an answer.")
    return -2 / beta * F.logsigmoid(beta * (-logps / lengths - delta)).mean()


def dpo_loss(
    win: Float[Tensor, " batch"],
    ref_win: Float[Tensor, " batch"],
    lose: Float[Tensor, " batch"],
    ref_lose: Float[Tensor, " batch"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """Direct preference optimization: prefers one answer to another, relative to the reference.

    Returns -2/β · mean log σ(β · ((win - ref_win) - (lose - ref_lose))): eq. 7 of https://arxiv.org/abs/2305.18290 in
    the scale of `npo_loss`, so that one learning rate serves both.

    Args:
        win: Sum of log p over the tokens of the preferred answer, here a refusal or an alternative.
        ref_win: The same under the reference.
        lose: Sum of log p over the tokens of the answer to forget.
        ref_lose: The same under the reference.
        beta: Inverse temperature.

    Raises:
        ValueError: If `beta` is not positive, the shapes disagree or the batch is empty.

    Example:
        >>> same = torch.tensor([-3.0])
        >>> dpo_loss(same, same, same, same, beta=2.0)  # log 2
        tensor(0.6931)
    """
    _checks.positive("beta", beta)
    _check_sequences(win=win, ref_win=ref_win, lose=lose, ref_lose=ref_lose)
    return -2 / beta * F.logsigmoid(beta * ((win - ref_win) - (lose - ref_lose))).mean()


def flat_loss(
    template: Float[Tensor, " batch"], forget: Float[Tensor, " batch"], *, divergence: str
) -> Float[Tensor, ""]:
    """Forget-data-only loss adjustment: parts a template answer from the one to forget by an f-divergence.

    Returns the mean of -g(P_template) + f*(g(P_forget)), of https://arxiv.org/abs/2410.11143, where P is the mean
    probability of an answer's tokens, g the divergence's variational function and f* its conjugate.

    Args:
        template: P of an answer that is to be given instead, such as a refusal, from `sequence_probs`.
        forget: P of the answer to forget.
        divergence: `tv` (total variation, the paper's best), `kl`, `js` or `pearson`.

    Raises:
        ValueError: If there is no such divergence, the shapes disagree or the batch is empty.

    Example:
        >>> flat_loss(torch.tensor([0.5]), torch.tensor([0.5]), divergence="tv")
        tensor(0.)
    """
    _checks.choice("divergence", divergence, DIVERGENCES)
    _check_sequences(template=template, forget=forget)
    raised, lowered = DIVERGENCES[divergence]
    return (lowered(forget) - raised(template)).mean()


# By name: g(P), of the answer that is raised, and f*(g(P)), of the one that is lowered.
DIVERGENCES: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "tv": (lambda p: p.tanh() / 2, lambda p: p.tanh() / 2),
    "kl": (lambda p: p, lambda p: (p - 1).exp()),
    "js": (lambda p: math.log(2) - F.softplus(-p), lambda p: F.softplus(p) - math.log(2)),
    "pearson": (lambda p: p, lambda p: p.square() / 4 + p),
}


def _check_sequences(**values: Tensor) -> None:
    shapes = {name: list(value.shape) for name, value in values.items()}
    shape, *others = shapes.values()
    if len(shape) != 1 or any(other != shape for other in others):
        named = ", ".join(f"`{name}` {shape}" for name, shape in shapes.items())
        raise ValueError(f"one number a sequence is wanted, of the same sequences throughout, got {named}.")
    if shape == [0]:
        raise ValueError(f"`{next(iter(shapes))}` is empty: there is nothing to take a mean over.")
