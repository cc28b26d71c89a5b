"""Memorization: which answer tokens the model would have chosen itself."""

from typing import Any

import numpy as np

from unlearn_metrics.functional._inputs import Floats, Ragged, as_passed, boolean_blocks


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
    return as_passed(hit, (answers.means() for answers in boolean_blocks(hit, "hit")))


def extraction_strength(hit: Any, *, ou_compat: bool = False) -> Any:
    """The share of the answer that follows by itself once its beginning is given.

        1 - k / L,   k = first position from which on every token is the argmax; k = L if there is none

    From 0 (the last token is missed) to 1 (the whole answer follows from the question); lower is better on what is to
    be forgotten. OpenUnlearning never returns 0: its search ends at the last token, so that an answer that is missed
    to the end scores 1 / L, and a wrong answer of one token 1.
    Source: Carlini et al., 2021; as in OpenUnlearning, but for that floor.

    Args:
        hit: As in `exact_memorization`.
        ou_compat: Keep the floor, to compare with numbers of OpenUnlearning.

    Returns:
        A number for one answer, shape (n,) for several.

    Raises:
        ValueError: If there is no answer, an answer has no token, or a value is neither True nor False.

    Example:
        >>> float(extraction_strength([True, False, True, True]))
        0.5
        >>> extraction_strength([[True, True], [True, False]]).tolist()
        [1.0, 0.0]
        >>> float(extraction_strength([True, False], ou_compat=True))
        0.5
    """
    return as_passed(hit, (extraction_strengths(answers, ou_compat) for answers in boolean_blocks(hit, "hit")))


def extraction_strengths(answers: Ragged, ou_compat: bool = False) -> Floats:
    """Extraction strength of each answer."""
    position = np.arange(answers.flat.size) - answers.starts[answers.rows]
    after_miss = np.where(answers.flat, 0, position + 1)
    follows = answers.lengths - np.maximum.reduceat(after_miss, answers.starts)
    return np.maximum(follows, 1 if ou_compat else 0) / answers.lengths
