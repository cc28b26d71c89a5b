"""Weight attribution-guided unlearning."""

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
class WAGLE(Transform):
    """Weight attribution-guided unlearning.

    Only the weights change with the largest |(θ - r / μ) · g|, where g and r are the gradients of the mean negative
    log-likelihood of the answers to forget and to keep, before the first step: what setting a weight to zero would do
    to the forget loss once the others have made up for it on the retain set. All others stay as they are, bit for bit.

    Attributes:
        share: Of the weights that may change. Default 0.8; the paper tunes it to the benchmark.
        mu: μ, what stands for the diagonal of the retain loss's Hessian. Default 1; the paper tunes it, too.
    """

    paper: ClassVar[str] = "Jia et al. 2024, https://arxiv.org/abs/2410.17509"
    summary: ClassVar[str] = "Changes only the weights whose removal weighs most on forgetting, retention considered."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    freezes: ClassVar[bool] = True

    share: float = 0.8
    mu: float = 1.0

    def __post_init__(self) -> None:
        _checks.share("share", self.share)
        _checks.positive("mu", self.mu)

    def start(
        self, forward: Forward, parameters: Mapping[str, Tensor], language: frozenset[str], material: Material
    ) -> dict[str, Tensor]:
        """Returns the mask."""
        forget = nll_gradient(forward, every(material.forget), parameters)
        retain = nll_gradient(forward, every(material.retain), parameters)
        scores = {
            name: ((weight.detach() - retain[name] / self.mu) * forget[name]).abs()
            for name, weight in parameters.items()
        }
        return highest(scores, self.share)

    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the step's gradients inside of the mask."""
        return masked(step(), state)
