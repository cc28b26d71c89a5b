"""Membership inference: can the forgotten rows be told from rows that were never trained on?"""

import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import Floats, Ragged, numbers, ragged_numbers, same_lengths, share

#: A distribution that is one-hot to float precision has no spread; OpenUnlearning floors the variance at 1e-6 as well.
_MIN_STD = 1e-3


def min_k(logp: Any, k: float = 0.4) -> Any:
    """Min-K: the mean log-probability of the least probable tokens of an answer.

    At most 0; higher means more likely a member of the training data. The number of tokens is k * L, rounded
    down, at least 1.
    Source: Shi et al., 2024 ("Detecting Pretraining Data from Large Language Models").

    Args:
        logp: Log-probability of each answer token, the end token included: one answer, shape (length,), or a sequence
            of answers.
        k: Share of the tokens, above 0 and at most 1.

    Returns:
        A number for one answer, shape (n,) for several.

    Raises:
        ValueError: If there is no answer, an answer has no token, a value is positive, NaN or infinite, or `k` is out
            of range.

    Example:
        >>> float(min_k([-1.0, -5.0, -3.0, -0.5, -0.1]))
        -4.0
    """
    answers = ragged_numbers(logp, "logp", high=0)
    return answers.shaped(lowest_means(answers, share(k, "k")))


def min_k_pp(logp: Any, mean: Any, std: Any, k: float = 0.4) -> Any:
    """Min-K++: as `min_k`, of log-probabilities in units of their spread over the vocabulary.

        z = (logp - mean) / std,   mean and std of log p over the vocabulary, weighted by p; std at least 0.001

    Higher means more likely a member of the training data.
    Source: Zhang et al., 2025 ("Min-K%++: Improved Baseline for Detecting Pre-Training Data").

    Args:
        logp: As in `min_k`.
        mean: Expected log-probability at each answer token; the shape of `logp`.
        std: Its standard deviation; the shape of `logp`.
        k: Share of the tokens, above 0 and at most 1.

    Returns:
        A number for one answer, shape (n,) for several.

    Raises:
        ValueError: If the lengths differ, or as in `min_k`.

    Example:
        >>> float(min_k_pp([-1.0, -4.0], mean=[-2.0, -2.0], std=[1.0, 2.0], k=0.5))
        -1.0
    """
    answers = ragged_numbers(logp, "logp", high=0)
    means, stds = ragged_numbers(mean, "mean"), ragged_numbers(std, "std", low=0)
    same_lengths(answers, means, "`logp` and `mean`")
    same_lengths(answers, stds, "`logp` and `std`")
    scores = standardized(answers.flat, means.flat, stds.flat)
    return answers.shaped(lowest_means(answers._replace(flat=scores), share(k, "k")))


def zlib_ratio(nll: ArrayLike, text: str | Sequence[str]) -> Any:
    """The loss of an answer over its compressed length: how surprising it is for how much it says.

        nll / len(zlib(text))

    At least 0; lower means more likely a member of the training data.
    Source: Carlini et al., 2021 ("Extracting Training Data from Large Language Models").

    Args:
        nll: Mean token NLL of each answer, shape (n,) or ().
        text: The answers, as many.

    Returns:
        float64 of the shape of `nll`.

    Raises:
        ValueError: If the counts differ, or a value is negative, NaN or infinite.

    Example:
        >>> float(zlib_ratio(2.2, "to be"))
        0.16923076923076924
    """
    losses = numbers(nll, "nll", low=0)
    texts = [text] if isinstance(text, str) else list(text)
    if losses.size != len(texts):
        raise ValueError(f"`nll` and `text` must be as many, got {losses.size} and {len(texts)}.")
    sizes = np.array([len(zlib.compress(each.encode("utf-8"))) for each in texts])
    return losses / sizes.reshape(losses.shape)


def auc(forget: ArrayLike, holdout: ArrayLike) -> float:
    """Area under the ROC curve: how often a forgotten row scores higher than a held-out one, ties counting half.

    From 0 to 1. With scores that are higher for members, 1 means that the forgotten rows are recognized as trained
    on, 0.5 that they cannot be told from the held-out ones, and less than 0.5 that they stand out by being forgotten.

    Args:
        forget: Scores of the rows to be forgotten, shape (n,).
        holdout: Scores of rows that were never trained on, shape (m,).

    Returns:
        The area.

    Raises:
        ValueError: If one of them is empty, or a value is NaN or infinite.

    Example:
        >>> auc([3.0, 2.0], [1.0, 2.0])
        0.875
    """
    members, others = np.ravel(numbers(forget, "forget")), np.sort(np.ravel(numbers(holdout, "holdout")))
    below = np.searchsorted(others, members, side="left").sum(dtype=np.float64)
    up_to = np.searchsorted(others, members, side="right").sum(dtype=np.float64)
    return float((below + up_to) / 2 / (members.size * others.size))


def lowest_means(answers: Ragged, k: float) -> Floats:
    """The mean of the lowest values of each answer, a share `k` of them."""
    rows = answers.rows
    ordered = answers.flat[np.lexsort((answers.flat, rows))]
    counts = np.maximum(1, (answers.lengths * k).astype(np.int64))
    taken = np.arange(ordered.size) - answers.starts[rows] < counts[rows]
    return np.add.reduceat(np.where(taken, ordered, 0.0), answers.starts) / counts


def standardized(logp: Floats, mean: Floats, std: Floats) -> Floats:
    """(logp - mean) / std, with a floor for the spread."""
    return (logp - mean) / np.maximum(std, _MIN_STD)
