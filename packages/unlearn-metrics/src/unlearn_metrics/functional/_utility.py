"""One number for what a model can still do."""

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import Floats, numbers


def model_utility(values: ArrayLike) -> float:
    """Model utility: the harmonic mean, which a single collapsed metric drags down.

    TOFU takes nine values: probability, ROUGE-L recall and truth ratio on the retain set, the real authors and the
    world facts. From 0 to 1; higher is better.
    Source: TOFU (Maini et al., 2024), section 2.2.3.

    Args:
        values: The metrics, shape (n,), each at least 0.

    Returns:
        Their harmonic mean; 0 where one of them is 0.

    Raises:
        ValueError: If there are none, or one is negative, NaN or infinite.

    Example:
        >>> model_utility([0.5, 1.0])
        0.6666666666666666
    """
    return float(harmonic_means(np.ravel(numbers(values, "values", low=0))))


def harmonic_means(values: Floats) -> Floats:
    """Harmonic mean over the last axis."""
    with np.errstate(divide="ignore", over="ignore"):
        means: Floats = values.shape[-1] / (1 / values).sum(axis=-1)
    return means
