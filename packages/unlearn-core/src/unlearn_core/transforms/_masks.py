"""Which weights may change, and the gradients of these alone."""

from collections.abc import Mapping

import torch
from torch import Tensor

from unlearn_core.gradients import Gradients, Grads


def highest(scores: Grads, share: float) -> dict[str, Tensor]:
    """Returns a mask of the highest-scored `share` of all weights together; a weight of score 0 is never among them.

    Args:
        scores: At least 0, by parameter.
        share: In (0, 1].

    Raises:
        ValueError: If every score is 0.
    """
    everything = torch.cat([score.flatten() for score in scores.values()])
    if not (everything > 0).any():
        raise ValueError("every weight has the score 0, so none is more salient than another: look at the rows given.")
    kept = max(1, round(share * len(everything)))
    threshold = everything.kthvalue(len(everything) - kept + 1).values
    return {name: (score >= threshold) & (score > 0) for name, score in scores.items()}


def masked(gradients: Gradients, mask: Mapping[str, Tensor]) -> Gradients:
    """Returns gradients that are exactly 0 outside of `mask`.

    Args:
        gradients: Of one step.
        mask: Booleans for every parameter that has a gradient.

    Raises:
        ValueError: If the mask misses a parameter, or has one of another shape.
    """
    check_mask(mask, gradients.forget)
    parts = [{name: value * mask[name] for name, value in part.items()} for part in gradients]
    return Gradients(*parts)


def check_mask(mask: Mapping[str, Tensor], parameters: Mapping[str, Tensor]) -> None:
    """Refuses a mask that does not say of every trained weight whether it may change."""
    missing = sorted(parameters.keys() - mask.keys())
    if missing:
        raise ValueError(
            f"the mask misses {len(missing)} of the {len(parameters)} parameters that are trained, `{missing[0]}` "
            "among them: make it for this model, and freeze beforehand what is not to be in it (`requires_grad_`)."
        )
    for name, parameter in parameters.items():
        if mask[name].shape != parameter.shape:
            raise ValueError(
                f"the mask of `{name}` has the shape {list(mask[name].shape)}, the parameter {list(parameter.shape)}: "
                "make it for this model."
            )
