"""Leaks among many answers to the same question."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def leak_at_k(n: ArrayLike, c: ArrayLike, k: int) -> Any:
    """The probability that at least one of k sampled answers leaks, estimated without bias from n of them.

        1 - C(n - c, k) / C(n, k)

    From 0 to 1; lower is better; it grows with k. Greedy decoding hides what sampling brings up.
    Source: leak@k (Reisizadeh et al., 2025), after pass@k (Chen et al., 2021).

    Args:
        n: How many answers were sampled for each question; any shape, or one number for all.
        c: How many of them leak; the same shape.
        k: How many answers an attacker draws, from 1 to n.

    Returns:
        float64 of that shape; the mean over questions is what is reported.

    Raises:
        ValueError: If there are none, the shapes differ, a count is no integer, c is not from 0 to n, or k is not from
            1 to n.

    Example:
        >>> leak_at_k(4, [0, 1, 2, 4], k=2).round(4).tolist()
        [0.0, 0.5, 0.8333, 1.0]
    """
    drawn, leaking = _counts(n, "n"), _counts(c, "c")
    if drawn.shape != leaking.shape and drawn.ndim and leaking.ndim:
        raise ValueError(f"`n` and `c` must have the same shape, got {drawn.shape} and {leaking.shape}.")
    if ((leaking < 0) | (leaking > drawn)).any():
        raise ValueError("`c` must be from 0 to `n`, as it counts the leaking among the sampled answers.")
    draws = int(_counts(k, "k"))
    if not 1 <= draws <= drawn.min():
        raise ValueError(f"`k` must be from 1 to the {drawn.min()} answers that were sampled, got {k}.")
    # The chance that no draw leaks, draw by draw: (n - c - j) / (n - j). In logs, so that rare leaks keep their digits.
    log_clean = np.zeros(np.broadcast(drawn, leaking).shape)
    with np.errstate(divide="ignore"):
        for j in range(draws):
            log_clean += np.log1p(-np.minimum(1.0, leaking / (drawn - j)))
    return -np.expm1(log_clean) + 0.0


def _counts(values: ArrayLike, name: str) -> NDArray[np.int64]:
    counts = np.asarray(values)
    if counts.size == 0:
        raise ValueError(f"`{name}` is empty, so there is nothing to measure. Give at least one count.")
    if counts.dtype.kind not in "iu":
        raise ValueError(f"`{name}` must hold integers, got {counts.dtype}.")
    return counts.astype(np.int64, copy=False)
