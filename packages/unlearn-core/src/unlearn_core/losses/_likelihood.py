"""Losses of the likelihood of the answer."""

from jaxtyping import Float, Int
from torch import Tensor

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
