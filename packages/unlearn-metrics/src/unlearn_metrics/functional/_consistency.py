"""Whether a fact is gone, or kept, in images and in text alike."""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import matched, numbers


def cross_modal_consistency(multimodal: ArrayLike, text: ArrayLike, kind: Literal["forget", "retain"]) -> Any:
    """One number for a fact that is asked with an image and in text alone.

        forget:  (a^2 + b^2) / (a + b)     retain:  2 a b / (a + b)

    with a the multimodal and b the textual score. The forget form leans to the larger one, so that a fact counts as
    forgotten only where both ways to it are closed; lower is better. The retain form, the harmonic mean, leans to the
    smaller one; higher is better. Both are 0 where both scores are 0, and equal to the scores where these agree.
    Source: UMU-Bench (Wang et al., 2025).

    Args:
        multimodal: Score of each fact, or set of facts, asked with an image, at least 0; any shape.
        text: Score of the same asked in text alone; the same shape.
        kind: Whether the facts are to be forgotten or to be kept.

    Returns:
        float64 of that shape.

    Raises:
        ValueError: If the shapes differ, a score is negative, NaN or infinite, or `kind` is unknown.

    Example:
        >>> cross_modal_consistency([0.5, 0.0], [0.5, 1.0], "forget").tolist()
        [0.5, 1.0]
        >>> cross_modal_consistency([0.5, 0.0], [0.5, 1.0], "retain").tolist()
        [0.5, 0.0]
    """
    if kind not in ("forget", "retain"):
        raise ValueError(f"`kind` must be 'forget' or 'retain', got {kind!r}.")
    a, b = matched(numbers(multimodal, "multimodal", low=0), numbers(text, "text", low=0), "`multimodal` and `text`")
    larger, smaller = np.maximum(a, b), np.minimum(a, b)
    # In shares of the larger score, so that squares neither overflow nor vanish.
    share = np.divide(smaller, larger, out=np.zeros_like(larger), where=larger > 0)
    if kind == "forget":
        return larger * ((1 + share**2) / (1 + share))
    return larger * (2 * share / (1 + share))
