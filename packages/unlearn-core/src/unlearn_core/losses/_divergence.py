"""Losses that compare whole distributions over the vocabulary."""

import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core.losses._answers import answer_log_softmax, check_answers


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
    check_answers(logits, labels)
    if ref_logits.shape != logits.shape:
        raise ValueError(
            f"`ref_logits` must have the shape of `logits`, {list(logits.shape)}, got {list(ref_logits.shape)}: "
            "the reference must read the same inputs with the same vocabulary."
        )
    logps, ref_logps = (answer_log_softmax(each, labels) for each in (logits, ref_logits))
    return F.kl_div(logps, ref_logps, reduction="batchmean", log_target=True)
