"""Losses that compare whole distributions over the vocabulary."""

import math

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.losses._answers import answer_log_softmax, answer_rows, answer_targets, check_answers, check_like

_SAME_INPUTS = "the reference must read the same inputs with the same vocabulary."


def kl_loss(
    logits: Float[Tensor, "batch length vocab"],
    ref_logits: Float[Tensor, "batch length vocab"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Returns KL(reference ‖ model), in nats, averaged over all answer tokens of the batch.

    Only positions that predict an answer token are looked at, so neither prompt nor padding pulls at the mean.

    Args:
        logits: Of the model that is trained.
        ref_logits: Of the reference, on the same inputs; gradients reach it too unless it was made without.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> logits, labels = torch.randn(2, 3, 5), torch.tensor([[-100, 1, 0], [-100, -100, 2]])
        >>> kl_loss(logits, logits, labels).item()
        0.0
    """
    logps, ref_logps = _both(logits, ref_logits, labels)
    return F.kl_div(logps, ref_logps, reduction="batchmean", log_target=True)


def js_loss(
    logits: Float[Tensor, "batch length vocab"],
    ref_logits: Float[Tensor, "batch length vocab"],
    labels: Int[Tensor, "batch length"],
) -> Float[Tensor, ""]:
    """Returns the Jensen-Shannon divergence of model and reference, in nats, averaged over all answer tokens.

    ½ KL(model ‖ mixture) + ½ KL(reference ‖ mixture), between 0 and log 2: the retain term of
    https://arxiv.org/abs/2509.02820.

    Args:
        logits: Of the model that is trained.
        ref_logits: Of the reference, on the same inputs; gradients reach it too unless it was made without.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> logits, labels = torch.tensor([[[99.0, 0.0], [0.0, 0.0]]]), torch.tensor([[-100, 1]])
        >>> js_loss(logits, -logits, labels)  # log 2
        tensor(0.6931)
    """
    logps, ref_logps = _both(logits, ref_logits, labels)
    mixture = torch.logaddexp(logps, ref_logps) - math.log(2)
    halves = [F.kl_div(mixture, each, reduction="batchmean", log_target=True) for each in (logps, ref_logps)]
    return (halves[0] + halves[1]) / 2


def undial_loss(
    logits: Float[Tensor, "batch length vocab"],
    ref_logits: Float[Tensor, "batch length vocab"],
    labels: Int[Tensor, "batch length"],
    *,
    beta: float,
) -> Float[Tensor, ""]:
    """Self-distillation from the reference's logits with the answer token's lowered.

    Returns the mean over all answer tokens of the cross-entropy of the model under softmax(z_ref - β · onehot(label)),
    of https://arxiv.org/abs/2402.10052.

    Args:
        logits: Of the model that is trained.
        ref_logits: Of the reference, on the same inputs; no gradient reaches it.
        labels: Token ids, aligned with the input; -100 is ignored.
        beta: By how much the logit of the answer token is lowered; at 0 the model imitates the reference.

    Raises:
        ValueError: If `beta` is negative, the shapes disagree, or a row has no answer token.

    Example:
        >>> zeros, labels = torch.zeros(1, 2, 3), torch.tensor([[-100, 1]])
        >>> undial_loss(zeros, zeros, labels, beta=9.0)  # log 3
        tensor(1.0986)
    """
    _checks.non_negative("beta", beta)
    check_answers(logits, labels)
    check_like("logits", ref_logits, logits, remedy=_SAME_INPUTS)
    label_onehot = F.one_hot(answer_targets(labels), logits.shape[-1])
    target = (answer_rows(ref_logits.detach(), labels) - beta * label_onehot).softmax(-1)
    return -(target * answer_log_softmax(logits, labels)).sum(-1).mean()


def ceu_loss(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """Cross-entropy unlearning: the model imitates itself with the answer token made impossible.

    Returns the mean over all answer tokens of the cross-entropy of the model under its own softmax without the label,
    whose gradient is not followed, of https://arxiv.org/abs/2503.01224.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> ceu_loss(torch.zeros(1, 2, 4), torch.tensor([[-100, 1]]))  # log 4
        tensor(1.3863)
    """
    check_answers(logits, labels)
    logps = answer_log_softmax(logits, labels)
    target = logps.detach().scatter(-1, answer_targets(labels)[:, None], -torch.inf).softmax(-1)
    return -(target * logps).sum(-1).mean()


def max_entropy_loss(
    logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]
) -> Float[Tensor, ""]:
    """Returns KL(uniform ‖ model), in nats, averaged over all answer tokens: least where the model has no idea.

    The forget term of https://arxiv.org/abs/2410.08109. Which tokens the answers have matters not, only where they are.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> max_entropy_loss(torch.zeros(1, 2, 4), torch.tensor([[-100, 1]])).item()
        0.0
    """
    check_answers(logits, labels)
    return -answer_log_softmax(logits, labels).mean() - math.log(logits.shape[-1])


def entropy_loss(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """Returns minus the model's entropy, in nats, averaged over all answer tokens: least where the model has no idea.

    Unlike that of `max_entropy_loss`, its pull on a token fades with the token's probability.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> entropy_loss(torch.zeros(1, 2, 4), torch.tensor([[-100, 1]]))  # -log 4
        tensor(-1.3863)
    """
    check_answers(logits, labels)
    logps = answer_log_softmax(logits, labels)
    return (logps.exp() * logps).sum(-1).mean()


def margin_loss(logits: Float[Tensor, "batch length vocab"], labels: Int[Tensor, "batch length"]) -> Float[Tensor, ""]:
    """Logit-margin flattening: the square of how far the largest logit is above the mean one, averaged over tokens.

    The forget term of https://arxiv.org/abs/2506.05314: zero where the model has no idea, and without a softmax, so
    that the pull does not vanish where the model is sure.

    Args:
        logits: What the model says, in any floating type; float16 and bfloat16 are upcast to float32.
        labels: Token ids, aligned with the input; -100 is ignored.

    Raises:
        ValueError: If the shapes disagree, or if a row has no answer token.

    Example:
        >>> margin_loss(torch.tensor([[[3.0, 0.0, 0.0], [9.0, 9.0, 9.0]]]), torch.tensor([[-100, 1]]))  # (3 - 1)²
        tensor(4.)
    """
    check_answers(logits, labels)
    chosen = answer_rows(logits, labels)
    return (chosen.amax(-1) - chosen.mean(-1)).square().mean()


def _both(logits: Tensor, ref_logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Log p of the vocabulary at answer tokens, under the model and under the reference."""
    check_answers(logits, labels)
    check_like("logits", ref_logits, logits, remedy=_SAME_INPUTS)
    return answer_log_softmax(logits, labels), answer_log_softmax(ref_logits, labels)
