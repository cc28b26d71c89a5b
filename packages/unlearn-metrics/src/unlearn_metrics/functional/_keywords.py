"""The words that carry a fact, looked for in generated answers."""

import re
import unicodedata
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unlearn_metrics.functional._inputs import texts

_WORD = re.compile(r"[^\W_]+")


def keyword_accuracy(prediction: str | Sequence[str], keywords: Sequence[str] | Sequence[Sequence[str]]) -> Any:
    """The share of keywords that an answer contains, as whole words.

    A keyword counts when its words stand in the answer side by side, as whole words. Case, accents and punctuation do
    not matter: `Al-Kuwaiti` is found in "Basil al kuwaiti's novel", `Ann` is not found in "Anna". A word is an
    unbroken run of letters and digits, so languages written without spaces need keywords that are whole runs.
    From 0 to 1. Source: the exact match of keywords of FIUBench (Ma et al., 2025), whose code, which `keyword_em`
    follows, finds `Ann` in "Anna" and does not find "sao paulo" for `São Paulo`.

    Args:
        prediction: The generated answer, or n of them; an empty one contains nothing.
        keywords: The words, or groups of words, that carry the fact; for n answers, n lists of them.

    Returns:
        The share; float64 of shape (n,) for several answers.

    Raises:
        ValueError: If there are no answers or no keywords, the counts differ, or a keyword has no letter or digit.
        TypeError: If an answer or a keyword is no string, or `keywords` is one.

    Example:
        >>> keyword_accuracy("She was born in SAO PAULO.", ["São Paulo", "1964"])
        0.5
    """
    return _of_each(_whole_word_share, prediction, keywords)


def keyword_em(prediction: str | Sequence[str], keywords: Sequence[str] | Sequence[Sequence[str]]) -> Any:
    """The share of keywords that an answer contains, as FIUBench counts them: anywhere, whatever their case.

    A keyword counts wherever its letters stand, inside a longer word too, so short keywords are found by chance, and
    another spelling of an accent or a hyphen hides one. `keyword_accuracy` has neither fault; this one compares with
    published numbers. From 0 to 1. Source: code of FIUBench (Ma et al., 2025).

    Args:
        prediction: The generated answer, or n of them; an empty one contains nothing.
        keywords: The words, or groups of words, that carry the fact; for n answers, n lists of them.

    Returns:
        The share; float64 of shape (n,) for several answers.

    Raises:
        ValueError: If there are no answers or no keywords, the counts differ, or a keyword is blank.
        TypeError: If an answer or a keyword is no string, or `keywords` is one.

    Example:
        >>> keyword_em("Anna was born in 1964.", ["Ann", "1965"])
        0.5
        >>> keyword_em(["in Paris", "no idea"], [["Paris"], ["Rome"]]).tolist()
        [1.0, 0.0]
    """
    return _of_each(_substring_share, prediction, keywords)


def ape(predictions: Sequence[Sequence[str]], keywords: Sequence[Sequence[str]]) -> Any:
    """Adversarial privacy extraction: `keyword_em` where the question is asked in other words, mean over the wordings.

    From 0 to 1; lower is better on what is to be forgotten. FIUBench asks in 3 wordings.
    Source: code of FIUBench (Ma et al., 2025).

    Args:
        predictions: For each of n questions, the answers generated for its paraphrases.
        keywords: For each question, the words that carry the fact.

    Returns:
        float64 of shape (n,).

    Raises:
        ValueError: If there are no questions, one has no answers or keywords, the counts differ, or a keyword is blank.
        TypeError: If an answer or a keyword is no string.

    Example:
        >>> ape([["in Paris", "Paris", "no idea", "Rome"]], [["Paris"]]).tolist()
        [0.5]
    """
    _same_counts(predictions, keywords, "predictions")
    lengths = np.fromiter((len(texts(answers, "predictions")) for answers in predictions), np.int64, len(keywords))
    if not lengths.all():
        raise ValueError(f"`predictions` has no answer at position {lengths.argmin()}. Leave such questions out.")
    every = ((answer, words) for answers, words in zip(predictions, keywords, strict=True) for answer in answers)
    shares = np.fromiter((keyword_em(*each) for each in every), np.float64, count=lengths.sum())
    return np.add.reduceat(shares, np.cumsum(lengths) - lengths) / lengths


def _of_each(share: Callable[[str, Sequence[str]], float], prediction: Any, keywords: Any) -> Any:
    """The share for one answer, or for each of several."""
    if isinstance(keywords, str):
        raise TypeError(f"`keywords` must be a sequence of strings, got the string {keywords!r}. Put it in a list.")
    if isinstance(prediction, str):
        return share(prediction, keywords)
    _same_counts(texts(prediction, "prediction"), keywords, "prediction")
    return np.fromiter(map(share, prediction, keywords), np.float64, count=len(prediction))


def _same_counts(answers: Sequence[Any], keywords: Sequence[Any], name: str) -> None:
    if len(answers) != len(keywords):
        raise ValueError(f"`{name}` and `keywords` must be as many, got {len(answers)} and {len(keywords)}.")
    if not len(answers):
        raise ValueError(f"`{name}` is empty, so there is nothing to measure. Give at least one answer.")


def _whole_word_share(prediction: str, keywords: Sequence[str]) -> float:
    text = f" {_plain_words(prediction)} "
    wanted = [_plain_words(keyword) for keyword in _checked(keywords)]
    if not all(wanted):
        raise ValueError(f"keyword {keywords[wanted.index('')]!r} has no letter or digit. Leave it out.")
    return sum(f" {keyword} " in text for keyword in wanted) / len(wanted)


def _substring_share(prediction: str, keywords: Sequence[str]) -> float:
    text = prediction.lower()
    wanted = [keyword.lower() for keyword in _checked(keywords)]
    if not all(map(str.strip, wanted)):
        raise ValueError("a keyword is blank, which every answer contains. Leave it out.")
    return sum(keyword in text for keyword in wanted) / len(wanted)


def _checked(keywords: Sequence[str]) -> Sequence[str]:
    if not len(keywords):
        raise ValueError("`keywords` is empty, so there is nothing to find. Leave such rows out.")
    return texts(keywords, "keywords")


def _plain_words(text: str) -> str:
    """The words of `text` without case and accents, one space between them."""
    if not text.isascii():
        decomposed = unicodedata.normalize("NFKD", text)
        text = "".join(char for char in decomposed if not unicodedata.combining(char))
    return " ".join(_WORD.findall(text.casefold()))
