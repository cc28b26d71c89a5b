"""Memorization: which answer tokens the model would have chosen itself."""

from typing import Any

import numpy as np

from unlearn_metrics.functional._inputs import Floats, Ragged, ragged_booleans


def exact_memorization(hit: Any) -> Any:
    """The share of answer tokens that are the model's first choice, given the tokens before them.

    From 0 to 1; lower is better on what is to be forgotten.
    Source: Tirumala et al., 2022; as in OpenUnlearning.

    Args:
        hit: For each answer token, the end token included, whether it was the argmax: one answer, shape (length,), or
            a sequence of answers.

    Returns:
        A number for one answer, shape (n,) for several.

    Raises:
        ValueError: If there is no answer, an answer has no token, or a value is neither True nor False.

    Example:
        >>> float(exact_memorization([True, False, True, True]))
        0.75
        >>> exact_memorization([[True], [False, True]]).tolist()
        [1.0, 0.5]
    """
    answers = ragged_booleans(hit, "hit")
    return answers.shaped(answers.means())


def extraction_strength(hit: Any) -> Any:
    """The share of the answer that follows by itself once its beginning is given.

        1 - k / L,   k = first position from which on every token is the argmax; k = L if there is none

    From 0 (the last token is missed) to 1 (the whole answer follows from the question); lower is better on what is to
    be forgotten. OpenUnlearning never returns 0: there, an answer that is missed to its last token scores 1 / L.
    Source: Carlini et al., 2021; as in OpenUnlearning, but for that floor.

    Args:
        hit: As in `exact_memorization`.

    Returns:
        A number for one answer, shape (n,) for several.

    Raises:
        ValueError: If there is no answer, an answer has no token, or a value is neither True nor False.

    Example:
        >>> float(extraction_strength([True, False, True, True]))
        0.5
        >>> extraction_strength([[True, True], [True, False]]).tolist()
        [1.0, 0.0]
    """
    answers = ragged_booleans(hit, "hit")
    return answers.shaped(extraction_strengths(answers))


def extraction_strengths(answers: Ragged) -> Floats:
    """Extraction strength of each answer."""
    position = np.arange(answers.flat.size) - answers.starts[answers.rows]
    after_miss = np.where(answers.flat, 0, position + 1)
    return (answers.lengths - np.maximum.reduceat(after_miss, answers.starts)) / answers.lengths
