"""How probable a model finds an answer."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import Floats, numbers


def probability(nll: ArrayLike) -> Any:
    """The probability of an answer, length-normalized: the geometric mean of its tokens' probabilities.

        p(a|q) = exp(-nll)

    From 0 to 1; lower is better on what is to be forgotten, higher elsewhere.
    Source: TOFU (Maini et al., 2024), section 2.2.

    Args:
        nll: Mean negative log-likelihood per answer token, the end token included; any shape, each at least 0.

    Returns:
        float64 of the same shape.

    Raises:
        ValueError: If `nll` is empty, negative, NaN or infinite.

    Example:
        >>> probability([0.0, 0.5]).round(4).tolist()
        [1.0, 0.6065]
    """
    return np.exp(-numbers(nll, "nll", low=0))


def normalized_probability(nll: ArrayLike, wrong_nll: ArrayLike) -> Any:
    """The probability of an answer among the given ones, as TOFU does where a question has options.

        p(a) / (p(a) + sum over k of p(wrong_k)),   p = exp(-nll), computed in log space

    From 0 to 1; with k wrong answers, a model that knows nothing is near 1 / (k + 1).
    Source: TOFU (Maini et al., 2024), section 2.2.

    Args:
        nll: Mean token NLL of the right answer, shape (...).
        wrong_nll: Mean token NLL of the wrong ones, shape (..., k).

    Returns:
        float64 of the shape of `nll`.

    Raises:
        ValueError: If the shapes do not fit, or a value is negative, NaN or infinite.

    Example:
        >>> round(float(normalized_probability(1.0, [1.0, 1.0, 1.0])), 4)
        0.25
    """
    right, wrong = right_and_wrong(nll, wrong_nll)
    return np.exp(-np.logaddexp(0.0, np.logaddexp.reduce(right[..., None] - wrong, axis=-1)))


def fluency(nll: ArrayLike) -> Any:
    """Perplexity: how many tokens a model finds equally likely, on average, where the text goes on.

        exp(nll)

    From 1; lower is more fluent. Of a generated answer, take the NLL under a model that was not unlearned; of a fixed
    text, under the unlearned model itself, to see whether it still speaks the language. For a whole corpus, pass the
    mean NLL over all its tokens: the perplexities of texts of unequal length have no meaningful mean.
    Source: Jelinek et al., 1977.

    Args:
        nll: Mean negative log-likelihood per token; any shape, each at least 0.

    Returns:
        float64 of the same shape; infinite where the perplexity exceeds float64.

    Raises:
        ValueError: If `nll` is empty, negative, NaN or infinite.

    Example:
        >>> fluency([0.0, 2.0]).round(4).tolist()
        [1.0, 7.3891]
    """
    with np.errstate(over="ignore"):
        return np.exp(numbers(nll, "nll", low=0))


def right_and_wrong(nll: ArrayLike, wrong_nll: ArrayLike) -> tuple[Floats, Floats]:
    """Both as float64, of the shapes (...) and (..., k)."""
    right, wrong = numbers(nll, "nll", low=0), numbers(wrong_nll, "wrong_nll", low=0)
    if wrong.ndim == 0 or wrong.shape[:-1] != right.shape:
        raise ValueError(
            f"`wrong_nll` must have the shape of `nll` and one axis more, got {wrong.shape} for {right.shape}."
        )
    return right, wrong
