"""Truth ratio: is a wrong answer as probable as a right one that was not trained on word for word?"""

from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import Floats, numbers, ratios


def truth_ratio(
    paraphrase_nll: ArrayLike, perturbed_nll: ArrayLike, mean: Literal["geometric", "arithmetic"] = "geometric"
) -> Any:
    """The probability of wrong answers over that of a right one.

        geometric:   R = exp(paraphrase_nll - mean over k of perturbed_nll_k)
        arithmetic:  R = (mean over k of exp(-perturbed_nll_k)) / exp(-paraphrase_nll)

    Both in log space. From 0 (knows) through 1 (cannot tell) to infinity.
    Source: geometric is what the code of TOFU (Maini et al., 2024) and OpenUnlearning computes, arithmetic is what
    the papers of TOFU and CLEAR print; the two differ by up to a fifth.

    Args:
        paraphrase_nll: Mean token NLL of the paraphrased right answer, shape (...).
        perturbed_nll: Mean token NLL of the wrong answers, shape (..., k).
        mean: How the wrong answers are averaged.

    Returns:
        float64 of the shape of `paraphrase_nll`; infinite where the ratio exceeds float64.

    Raises:
        ValueError: If the shapes do not fit, a value is negative, NaN or infinite, or `mean` is unknown.

    Example:
        >>> round(float(truth_ratio(2.0, [3.0, 4.0, 5.0])), 4)
        0.1353
        >>> round(float(truth_ratio(2.0, [3.0, 4.0, 5.0], mean="arithmetic")), 4)
        0.1843
    """
    right = numbers(paraphrase_nll, "paraphrase_nll", low=0)
    wrong = numbers(perturbed_nll, "perturbed_nll", low=0)
    if wrong.ndim == 0 or wrong.shape[:-1] != right.shape:
        raise ValueError(
            f"`perturbed_nll` must have the shape of `paraphrase_nll` and one axis more, "
            f"got {wrong.shape} for {right.shape}."
        )
    if mean == "geometric":
        log_wrong = -wrong.mean(axis=-1)
    elif mean == "arithmetic":
        log_wrong = np.logaddexp.reduce(-wrong, axis=-1) - np.log(wrong.shape[-1])
    else:
        raise ValueError(f"`mean` must be 'geometric' or 'arithmetic', got {mean!r}.")
    with np.errstate(over="ignore"):
        return np.exp(log_wrong + right)


def forget_truth_ratio(truth_ratios: ArrayLike) -> float:
    """Truth ratio of a set that should be unknown: the mean of min(R, 1/R).

    From 0 (tells right from wrong, or prefers the wrong) to 1 (cannot tell); higher is better.
    Source: TOFU (Maini et al., 2024), code of the evaluation.

    Args:
        truth_ratios: R of each row, shape (n,).

    Returns:
        The mean over rows.

    Raises:
        ValueError: If there are none, or one is negative or NaN.

    Example:
        >>> forget_truth_ratio([0.5, 2.0, 1.0])
        0.6666666666666666
    """
    return float(folded(ratios(truth_ratios, "truth_ratios")).mean())


def retain_truth_ratio(truth_ratios: ArrayLike) -> float:
    """Truth ratio of a set that should be known: the mean of max(0, 1 - R).

    From 0 (wrong answers are at least as probable) to 1 (knows); higher is better.
    Source: TOFU (Maini et al., 2024), code of the evaluation.

    Args:
        truth_ratios: R of each row, shape (n,).

    Returns:
        The mean over rows.

    Raises:
        ValueError: If there are none, or one is negative or NaN.

    Example:
        >>> retain_truth_ratio([0.5, 2.0])
        0.25
    """
    return float(margin(ratios(truth_ratios, "truth_ratios")).mean())


def folded(truth_ratios: Floats) -> Floats:
    """min(R, 1/R) of each row."""
    with np.errstate(divide="ignore", over="ignore"):
        return np.minimum(truth_ratios, 1 / truth_ratios)


def margin(truth_ratios: Floats) -> Floats:
    """max(0, 1 - R) of each row."""
    return np.maximum(0.0, 1 - truth_ratios)
