"""How deep unlearning goes: is the knowledge gone from the layers, or only kept from being said?"""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import numbers


def unlearning_depth(retrained_drops: ArrayLike, unlearned_drops: ArrayLike, threshold: float = 0.05) -> Any:
    """Unlearning depth score: how much of what a model's layers knew is gone, as if it had never been learnt.

        sum over l of d1_l clip(d2_l / d1_l, 0, 1) / sum over l of d1_l,   over layers with d1_l above the threshold

    where d1 and d2 are the drops of the answer's log-probability when the activations of a layer of the retrained, or
    of the unlearned model, take the place of those of the target model. From 0 (every layer still knows) to 1 (as
    retrained); higher is better.
    Source: the unlearning depth score (UDS).

    Args:
        retrained_drops: Drop per layer with the retrained model's activations, shape (..., layers).
        unlearned_drops: Drop per layer with the unlearned model's activations, the same shape.
        threshold: Layers where the retrained model drops by no more hold no such knowledge and do not count.

    Returns:
        float64 of shape (...).

    Raises:
        ValueError: If the shapes differ, a value is NaN or infinite, `threshold` is negative, or an answer has no layer
            above it.

    Example:
        >>> float(unlearning_depth([0.01, 1.0, 3.0], [9.0, 0.5, 4.0]))
        0.875
    """
    first = np.atleast_1d(numbers(retrained_drops, "retrained_drops"))
    second = np.atleast_1d(numbers(unlearned_drops, "unlearned_drops"))
    if first.shape != second.shape:
        raise ValueError(
            f"`retrained_drops` and `unlearned_drops` must have the same shape, got {first.shape} and {second.shape}."
        )
    if not 0 <= threshold < np.inf:
        raise ValueError(f"`threshold` must be finite and at least 0, got {threshold}.")
    known = np.where(first > threshold, first, 0.0)
    total = known.sum(axis=-1)
    if not np.all(total > 0):
        at = np.argwhere(np.atleast_1d(total == 0))[0]
        raise ValueError(f"no layer drops by more than {threshold} in answer {', '.join(map(str, at))}. Leave it out.")
    # d1 clip(d2 / d1, 0, 1) without the division
    return np.clip(second, 0.0, known).sum(axis=-1) / total
