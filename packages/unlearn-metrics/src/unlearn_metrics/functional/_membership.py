"""Membership inference: can the forgotten rows be told from rows that were never trained on?"""

import zlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import (
    Floats,
    Ragged,
    as_passed,
    number_blocks,
    numbers,
    same_lengths,
    share,
    texts,
)

#: A distribution that is one-hot to float precision has no spread; OpenUnlearning floors the variance at 1e-6 as well.
_MIN_STD = 1e-3

#: Which scores mark the rows that a model was trained on, by membership attack; `auc` takes it as `members`.
ATTACKS: dict[str, Literal["high", "low"]] = {
    "grad_norm": "low",
    "loss": "low",
    "min_k": "high",
    "min_k_pp": "high",
    "reference": "low",
    "zlib": "low",
}


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
    taken = share(k, "k")
    return as_passed(logp, (lowest_means(answers, taken) for answers in number_blocks(logp, "logp", high=0)))


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
    taken = share(k, "k")
    if not len(logp) == len(mean) == len(std):
        raise ValueError(
            f"`logp`, `mean` and `std` must be as many answers, got {len(logp)}, {len(mean)} and {len(std)}."
        )
    columns = number_blocks(logp, "logp", high=0), number_blocks(mean, "mean"), number_blocks(std, "std", low=0)
    return as_passed(logp, (lowest_means(_standardized(*blocks), taken) for blocks in zip(*columns, strict=True)))


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
    answers = [text] if isinstance(text, str) else texts(text, "text")
    if losses.size != len(answers):
        raise ValueError(f"`nll` and `text` must be as many, got {losses.size} and {len(answers)}.")
    sizes = np.fromiter((len(zlib.compress(each.encode("utf-8"))) for each in answers), np.float64, len(answers))
    return losses / sizes.reshape(losses.shape)


def reference_difference(nll: ArrayLike, reference_nll: ArrayLike) -> Any:
    """The loss of an answer beyond that of a reference model that was not trained on it.

        nll - reference_nll

    Lower means more likely a member of the training data: what is easy for every model is no sign of it.
    Source: Carlini et al., 2021 ("Extracting Training Data from Large Language Models").

    Args:
        nll: Mean token NLL of each answer, shape (n,) or ().
        reference_nll: The same under the reference model.

    Returns:
        float64 of the shape of `nll`.

    Raises:
        ValueError: If the shapes differ, or a value is negative, NaN or infinite.

    Example:
        >>> reference_difference([0.5, 3.0], [2.0, 3.0]).tolist()
        [-1.5, 0.0]
    """
    losses, others = numbers(nll, "nll", low=0), numbers(reference_nll, "reference_nll", low=0)
    if losses.shape != others.shape:
        raise ValueError(f"`nll` and `reference_nll` must have the same shape, got {losses.shape} and {others.shape}.")
    return losses - others


def auc(forget: ArrayLike, holdout: ArrayLike, *, members: Literal["high", "low"] = "high") -> float:
    """Area under the ROC curve: how often a forgotten row looks more trained on than a held-out one, ties half.

    From 0 to 1: 1 means that the forgotten rows are recognized as trained on, 0.5 that they cannot be told from the
    held-out ones, and less than 0.5 that they stand out by being forgotten. `ATTACKS` has the direction of each attack.
    Source: Hanley and McNeil, 1982.

    Args:
        forget: Scores of the rows to be forgotten, shape (n,).
        holdout: Scores of rows that were never trained on, shape (m,).
        members: Whether "high" or "low" scores mark what was trained on.

    Returns:
        The area.

    Raises:
        ValueError: If one of them is empty, a value is NaN or infinite, or `members` is unknown.

    Example:
        >>> auc([3.0, 2.0], [1.0, 2.0])
        0.875
        >>> losses = {"forget": [0.1, 0.2], "holdout": [0.3, 0.2]}
        >>> auc(**losses, members=ATTACKS["loss"])
        0.875
    """
    if members not in ("high", "low"):
        raise ValueError(f"`members` must be 'high' or 'low', got {members!r}.")
    # Both sorted: then each look-up goes on where the last one ended, which is what makes large inputs cheap.
    ours, others = np.sort(numbers(forget, "forget"), axis=None), np.sort(numbers(holdout, "holdout"), axis=None)
    below = np.searchsorted(others, ours, side="left").sum(dtype=np.float64)
    up_to = np.searchsorted(others, ours, side="right").sum(dtype=np.float64)
    pairs = float(ours.size) * others.size
    area = float((below + up_to) / 2 / pairs)
    return area if members == "high" else 1 - area


def lowest_means(answers: Ragged, k: float) -> Floats:
    """The mean of the lowest values of each answer, a share `k` of them."""
    rows = answers.rows
    ordered = answers.flat[np.lexsort((answers.flat, rows))]
    counts = np.maximum(1, (answers.lengths * k).astype(np.int64))
    taken = np.arange(ordered.size) - answers.starts[rows] < counts[rows]
    return np.add.reduceat(np.where(taken, ordered, 0.0), answers.starts) / counts


def _standardized(logp: Ragged, mean: Ragged, std: Ragged) -> Ragged:
    """The standardized log-probabilities of a block of answers."""
    same_lengths(logp, mean, "`logp` and `mean`")
    same_lengths(logp, std, "`logp` and `std`")
    return logp._replace(flat=standardized(logp.flat, mean.flat, std.flat))


def standardized(logp: Floats, mean: Floats, std: Floats) -> Floats:
    """(logp - mean) / std, with a floor for the spread."""
    return (logp - mean) / np.maximum(std, _MIN_STD)
