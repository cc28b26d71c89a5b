"""Gradient rectified unlearning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unlearn_core import _checks
from unlearn_core.gradients import Gradients, Grads, inner
from unlearn_core.transform import Step, Transform


@dataclass(frozen=True, kw_only=True)
class GRU(Transform):
    """Gradient rectified unlearning.

    Where the forget gradient g points against the gradient r of what is kept, ⟨g, r⟩ < 0, it becomes
    g - ⟨g, r⟩ / ‖r‖² · r: the nearest direction that does not, to first order, raise the loss on what is kept. Where it
    does not point against it, it stays as it is. The retain term goes through untouched.

    Attributes:
        average: Share of the newest gradient in r, which is a moving average over the steps; 1 takes the newest alone.
            Default 0.8, as in the authors' configurations.
    """

    paper: ClassVar[str] = "Wang et al. 2025, https://arxiv.org/abs/2503.09117"
    summary: ClassVar[str] = "Takes from the forget gradient what would raise the loss on the rows to keep."
    needs: ClassVar[frozenset[str]] = frozenset({"kept"})

    average: float = 0.8

    def __post_init__(self) -> None:
        _checks.share("average", self.average)

    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the step's gradients with the forget gradient rectified."""
        found = step()
        state.update(self._averaged(found.kept, state))
        return found._replace(forget=_rectified(found.forget, {name: state[name] for name in found.kept}))

    def _averaged(self, kept: Grads, state: Mapping[str, Tensor]) -> Grads:
        """The first gradient stands for all before it, so that the average is never drawn to zero."""
        return {name: state.get(name, new).lerp(new, self.average) for name, new in kept.items()}


def _rectified(forget: Grads, kept: Grads) -> Grads:
    against, length = inner(forget, kept), inner(kept, kept)
    if against >= 0 or length == 0:
        return forget
    scale = against / length
    return {name: value - (scale * kept[name]).to(value.dtype) for name, value in forget.items()}
