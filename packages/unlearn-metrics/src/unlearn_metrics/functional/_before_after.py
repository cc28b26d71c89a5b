"""A number of a model against the same number before something was done to it, or of the retrained model."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from unlearn_metrics.functional._inputs import Floats, matched, numbers

#: OpenUnlearning adds it to the divisor.
_OU_EPSILON = 1e-10


def forgotten_pct(before: ArrayLike, after: ArrayLike) -> Any:
    """How much of an accuracy is gone, in percent of what there was.

        100 (1 - after / before)

    100 means all forgotten, 0 nothing; negative where the model became better. Higher is better on what is to be
    forgotten.
    Source: PULSE (Kawakami et al., 2025).

    Args:
        before: Accuracy before unlearning, above 0; any shape, or one number for all.
        after: Accuracy after it, in the same unit, of the same shape.

    Returns:
        float64 percentages of that shape.

    Raises:
        ValueError: If the shapes differ, a value is negative, NaN or infinite, or `before` is 0: nothing was known
            that could be forgotten.

    Example:
        >>> forgotten_pct([0.8, 0.5], [0.2, 0.5]).tolist()
        [75.0, 0.0]
    """
    old, new = _accuracies(before, after)
    return 100 * (1 - new / old)


def retained_pct(before: ArrayLike, after: ArrayLike) -> Any:
    """How much of an accuracy is left, in percent of what there was.

        100 after / before

    100 means all kept, 0 nothing; above 100 where the model became better. Higher is better on what is to be kept.
    Source: PULSE (Kawakami et al., 2025).

    Args:
        before: Accuracy before unlearning, above 0; any shape, or one number for all.
        after: Accuracy after it, in the same unit, of the same shape.

    Returns:
        float64 percentages of that shape.

    Raises:
        ValueError: If the shapes differ, a value is negative, NaN or infinite, or `before` is 0.

    Example:
        >>> float(retained_pct(0.8, 0.2))
        25.0
    """
    old, new = _accuracies(before, after)
    return 100 * (new / old)


def relearn_robustness(before: ArrayLike, after: ArrayLike) -> Any:
    """How well a metric on the forget set withstands relearning, an epoch of training on what was forgotten.

        1 - |before - after| / (|before| + |after|)

    From 0 to 1; higher is better; 1 where nothing changed, also where both are 0. It is symmetric: a metric that
    collapses under the attack counts as much as one that recovers, where one-sided forms call the former robust.
    Source: the symmetric form of the robustness in OpenUnlearning (Dorna et al., 2025).

    Args:
        before: The metric of the unlearned model; any finite number, any shape.
        after: The same after relearning, of the same shape.

    Returns:
        float64 of that shape.

    Raises:
        ValueError: If the shapes differ, or a value is NaN or infinite.

    Example:
        >>> relearn_robustness([0.2, 0.2, 0.0], [0.2, 0.6, 0.6]).round(4).tolist()
        [1.0, 0.5, 0.0]
    """
    return _symmetric_robustness(before, after)


def quant_robustness(before: ArrayLike, after: ArrayLike) -> Any:
    """How well a metric on the forget set withstands quantization of the weights to 8 or 4 bits.

    The formula is that of `relearn_robustness`: from 0 to 1; higher is better; 1 where nothing changed.
    Source: the symmetric form of the robustness in OpenUnlearning (Dorna et al., 2025).

    Args:
        before: The metric of the unlearned model; any finite number, any shape.
        after: The same after quantization, of the same shape.

    Returns:
        float64 of that shape.

    Raises:
        ValueError: If the shapes differ, or a value is NaN or infinite.

    Example:
        >>> float(quant_robustness(0.1, 0.3))
        0.5
    """
    return _symmetric_robustness(before, after)


def privleak(auc: ArrayLike, retrained_auc: ArrayLike, *, ou_compat: bool = False) -> Any:
    """How far membership inference is from what it achieves on a model that never saw the data, in percent.

        100 (auc - retrained_auc) / retrained_auc

    0 is best. With areas of `auc`, positive means that the forgotten rows still stand out as trained on, negative that
    they stand out by being forgotten. There is no default for the retrained model's area: to compare with chance, pass
    0.5 and say so where you report it.
    Source: MUSE (Shi et al., 2025), whose areas count the other way round (1 - auc), so that its signs are opposite
    and, for the divisor, its sizes too. `ou_compat` gives that form as OpenUnlearning computes it:

        100 ((1 - auc) - (1 - retrained_auc)) / (1 - retrained_auc + 1e-10)

    Args:
        auc: Area under the ROC curve of an attack on the unlearned model, forget against holdout, from 0 to 1; any
            shape.
        retrained_auc: The same of the retrained model; the same shape, or one number for all.
        ou_compat: Take 1 - auc of both, as OpenUnlearning and MUSE's table do.

    Returns:
        float64 percentages of that shape.

    Raises:
        ValueError: If the shapes differ, an area is outside [0, 1] or NaN, or the divisor is 0.

    Example:
        >>> float(privleak(0.75, 0.5)), float(privleak(0.5, 0.5))
        (50.0, 0.0)
        >>> round(float(privleak(0.75, 0.5, ou_compat=True)), 6)
        -50.0
    """
    found, reference = matched(
        numbers(auc, "auc", low=0, high=1),
        numbers(retrained_auc, "retrained_auc", low=0, high=1),
        "`auc` and `retrained_auc`",
    )
    if ou_compat:
        found, reference = 1 - found, 1 - reference
    if not reference.min() > 0:
        raise ValueError(f"`retrained_auc` must be {'below 1' if ou_compat else 'above 0'}, as it is divided by.")
    return 100 * ((found - reference) / (reference + (_OU_EPSILON if ou_compat else 0)))


def _accuracies(before: ArrayLike, after: ArrayLike) -> tuple[Floats, Floats]:
    old, new = matched(numbers(before, "before", low=0), numbers(after, "after", low=0), "`before` and `after`")
    if not old.min() > 0:
        raise ValueError("`before` must be above 0, got 0.0: nothing was known. Leave such values out.")
    return old, new


def _symmetric_robustness(before: ArrayLike, after: ArrayLike) -> Any:
    old, new = matched(numbers(before, "before"), numbers(after, "after"), "`before` and `after`")
    change, scale = np.abs(old - new), np.abs(old) + np.abs(new)
    return 1 - np.divide(change, scale, out=np.zeros_like(change), where=scale > 0)
