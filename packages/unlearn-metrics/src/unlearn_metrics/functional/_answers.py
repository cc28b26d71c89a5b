"""Answers as a person would mark them: the right option chosen, the words that carry the fact said."""

import re
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._likelihood import right_and_wrong

_WORD = re.compile(r"[^\W_]+")


def mcq_accuracy(nll: ArrayLike, wrong_nll: ArrayLike) -> Any:
    """Multiple choice: whether the right option is the one of highest length-normalized log-probability.

    1 where it is, 0 where it is not; where it ties with others, its share among the tied, so that a model that finds
    all options alike scores as by chance.
    Source: MLLMU-Bench (Liu et al., 2025) and common practice for models without instruction tuning.

    Args:
        nll: Mean token NLL of the right option, shape (...).
        wrong_nll: Mean token NLL of the other options, shape (..., k).

    Returns:
        float64 of the shape of `nll`; the mean is the accuracy.

    Raises:
        ValueError: If the shapes do not fit, or a value is negative, NaN or infinite.

    Example:
        >>> mcq_accuracy([0.5, 1.0, 1.0], [[0.7, 0.9], [0.7, 2.0], [1.0, 3.0]]).tolist()
        [1.0, 0.0, 0.5]
    """
    right, wrong = right_and_wrong(nll, wrong_nll)
    ties = (wrong == right[..., None]).sum(axis=-1)
    return np.where(right <= wrong.min(axis=-1), 1 / (1 + ties), 0.0)[()]


def keyword_accuracy(prediction: str, keywords: Sequence[str]) -> float:
    """The share of keywords that an answer contains.

    A keyword counts when its words stand in the answer side by side, as whole words. Case, accents and punctuation do
    not matter: `Al-Kuwaiti` is found in "Basil al kuwaiti's novel", `Ann` is not found in "Anna". A word is an
    unbroken run of letters and digits, so languages written without spaces need keywords that are whole runs.
    From 0 to 1. Source: the exact match of keywords of FIUBench (Ma et al., 2025).

    Args:
        prediction: The generated answer; an empty one contains nothing.
        keywords: The words, or groups of words, that carry the fact.

    Returns:
        The share.

    Raises:
        ValueError: If there are no keywords, or one has no letter or digit.
        TypeError: If `keywords` is a string.

    Example:
        >>> keyword_accuracy("She was born in SAO PAULO.", ["São Paulo", "1964"])
        0.5
    """
    if isinstance(keywords, str):
        raise TypeError(f"`keywords` must be a sequence of strings, got the string {keywords!r}. Put it in a list.")
    if not keywords:
        raise ValueError("`keywords` is empty, so there is nothing to find. Leave such rows out.")
    text = f" {_plain_words(prediction)} "
    wanted = [_plain_words(keyword) for keyword in keywords]
    if not all(wanted):
        raise ValueError(f"keyword {keywords[wanted.index('')]!r} has no letter or digit. Leave it out.")
    return sum(f" {keyword} " in text for keyword in wanted) / len(wanted)


def _plain_words(text: str) -> str:
    """The words of `text` without case and accents, one space between them."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(_WORD.findall(text.casefold()))
