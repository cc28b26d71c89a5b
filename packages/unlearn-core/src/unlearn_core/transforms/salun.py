"""Saliency unlearning."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from unlearn_core import _checks
from unlearn_core.forward import Forward
from unlearn_core.gradients import Gradients, nll_gradient
from unlearn_core.material import Material, every
from unlearn_core.transform import Step, Transform
from unlearn_core.transforms._masks import highest, masked


@dataclass(frozen=True, kw_only=True)
class SalUn(Transform):
    """Saliency unlearning.

    Only the weights change that matter most to what is to be forgotten: those with the largest |g|, where g is the
    gradient of the mean negative log-likelihood of the answers to forget, before the first step. All others stay as
    they are, bit for bit.

    Attributes:
        share: Of the weights that may change. Default 0.5, as in the paper, whose threshold is the median.
    """

    paper: ClassVar[str] = "Fan et al. 2023, https://arxiv.org/abs/2310.12508"
    summary: ClassVar[str] = "Changes only the weights with the largest gradients on the answers to forget."
    needs: ClassVar[frozenset[str]] = frozenset({"forget"})
    freezes: ClassVar[bool] = True

    share: float = 0.5

    def __post_init__(self) -> None:
        _checks.share("share", self.share)

    def start(
        self, forward: Forward, parameters: Mapping[str, Tensor], language: frozenset[str], material: Material
    ) -> dict[str, Tensor]:
        """Returns the mask."""
        gradient = nll_gradient(forward, every(material.forget), parameters)
        return highest({name: value.abs() for name, value in gradient.items()}, self.share)

    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the step's gradients inside of the mask."""
        return masked(step(), state)
