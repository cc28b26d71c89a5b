"""Answers as a person would mark them: the right option chosen, the blank filled."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import texts
from unlearn_metrics.functional._likelihood import right_and_wrong

#: A letter by itself at the start of an answer: `B`, `(b)`, `B. Paris`, but not `Because`.
_LETTER = re.compile(r"\W*([A-Za-z])(?![^\W_])")


def mcq_accuracy(nll: ArrayLike, wrong_nll: ArrayLike) -> Any:
    """Multiple choice: whether the right option is the one of highest length-normalized log-probability.

    1 where it is, 0 where it is not; where it ties with others, its share among the tied, so that a model that finds
    all options alike scores as by chance. Where options are lettered, give the NLL of the letters, or see
    `mcq_letter_accuracy` for generated answers.
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


def mcq_letter_accuracy(predictions: Sequence[str], letters: Sequence[str]) -> Any:
    """Multiple choice by letter: whether a generated answer begins with the letter of the right option.

    1 or 0. The letter stands by itself, in any case, after punctuation or none: `B`, `(b)`, `B. Paris`. An answer
    that begins otherwise is wrong, as in the published code; ask for one letter alone.
    Source: code of MLLMU-Bench (Liu et al., 2025), which takes the first character; PULSE (Kawakami et al., 2025).

    Args:
        predictions: The generated answers, n of them.
        letters: The letters of the right options, as many, each from A to Z.

    Returns:
        float64 of shape (n,); the mean is the accuracy.

    Raises:
        ValueError: If there are none, the counts differ, or one of `letters` is no letter.
        TypeError: If one of them is a string, or holds something else than strings.

    Example:
        >>> mcq_letter_accuracy(["B", "(b) Paris", "Because", "C."], ["B", "B", "B", "B"]).tolist()
        [1.0, 1.0, 0.0, 0.0]
    """
    _as_many(predictions, letters, "letters")
    bad = [letter for letter in letters if not re.fullmatch("[A-Za-z]", letter)]
    if bad:
        raise ValueError(f"`letters` must be single letters from A to Z, got {bad[0]!r}.")
    starts = (_LETTER.match(prediction) for prediction in predictions)
    right = (
        found is not None and found[1].upper() == letter.upper() for found, letter in zip(starts, letters, strict=True)
    )
    return np.fromiter(right, np.float64, count=len(letters))


def cloze_accuracy(prediction: str | Sequence[str], answer: str | Sequence[str]) -> Any:
    """Fill in the blank: whether the generated text contains the right words, whatever their case.

    1 or 0. The words count wherever their letters stand, inside a longer word too, as in the published code; where
    that matters, `keyword_accuracy` looks for whole words.
    Source: MLLMU-Bench (Liu et al., 2025), UMU-Bench (Wang et al., 2025).

    Args:
        prediction: The generated text, or n of them; an empty one contains nothing.
        answer: The words that fill the blank; for n texts, as many.

    Returns:
        A number; float64 of shape (n,) for several texts; the mean is the accuracy.

    Raises:
        ValueError: If there are none, the counts differ, or an answer is blank.
        TypeError: If a text or an answer is no string.

    Example:
        >>> cloze_accuracy(["He was born in OSLO.", "unknown"], ["Oslo", "Rome"]).tolist()
        [1.0, 0.0]
    """
    if isinstance(prediction, str) and isinstance(answer, str):
        return float(cloze_accuracy([prediction], [answer])[0])
    _as_many(prediction, answer, "answer")
    wanted = (each.strip().lower() for each in answer)
    found = (each in text.lower() if each else None for text, each in zip(prediction, wanted, strict=True))
    marks = np.fromiter((np.nan if each is None else each for each in found), np.float64, count=len(answer))
    if np.isnan(marks).any():
        raise ValueError(f"`answer` is blank at position {np.isnan(marks).argmax()}, which every text contains.")
    return marks


def _as_many(predictions: Sequence[str], others: Sequence[str], name: str) -> None:
    """Raise unless both are sequences of strings, as many and not none."""
    if len(texts(predictions, "predictions")) != len(texts(others, name)):
        raise ValueError(f"predictions and `{name}` must be as many, got {len(predictions)} and {len(others)}.")
    if not len(others):
        raise ValueError(f"`{name}` is empty, so there is nothing to measure. Give at least one answer.")
