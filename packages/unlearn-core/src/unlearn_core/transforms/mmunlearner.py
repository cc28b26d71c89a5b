"""MMUnlearner."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.forward import Forward
from unlearn_core.gradients import Gradients, Grads, squared_gradients, zeros
from unlearn_core.material import Material, Rows
from unlearn_core.transform import Step, Transform
from unlearn_core.transforms._masks import masked

PARTS = ("both", "language", "vision")


@dataclass(frozen=True, kw_only=True)
class MMUnlearner(Transform):
    """MMUnlearner.

    Only the weights change that matter more to what is to be forgotten than to what is kept: whose diagonal Fisher
    information, the mean over rows of the squared gradient of a row's log-likelihood before the first step, is on the
    forget set at least `threshold` times that on the retain set. Language and vision parts are weighed apart: text rows
    never reach the vision part, so that its means are over image rows alone. All other weights stay as they are, bit
    for bit, and so does the part that is not asked for.

    Attributes:
        threshold: Of the ratio. Default 1, as in the paper.
        parts: Whose weights may change: `both`, `language` (decoder and output embeddings) or `vision` (vision tower
            and projector). Default both, as in the paper.
    """

    paper: ClassVar[str] = "Huo et al. 2025, https://arxiv.org/abs/2502.11051"
    summary: ClassVar[str] = "Changes only the weights that carry more information on what to forget than on the rest."
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    freezes: ClassVar[bool] = True

    threshold: float = 1.0
    parts: str = "both"

    def __post_init__(self) -> None:
        _checks.positive("threshold", self.threshold)
        _checks.choice("parts", self.parts, PARTS)

    def start(
        self, forward: Forward, parameters: Mapping[str, Tensor], language: frozenset[str], material: Material
    ) -> dict[str, Tensor]:
        """Returns the mask."""
        chosen = {name for name in parameters if self.parts in ("both", _part(name, language))}
        if not chosen:
            raise ValueError(
                f"`parts` is {self.parts!r}, but no such weight of the model is trained: choose `both`, or another "
                "model."
            )
        forget = _fisher(forward, material.forget, parameters, language)
        retain = _fisher(forward, material.retain, parameters, language)
        return {
            name: (forget[name] >= self.threshold * retain[name]) & (forget[name] > 0)
            if name in chosen
            else torch.zeros_like(parameter, dtype=torch.bool)
            for name, parameter in parameters.items()
        }

    def gradients(self, step: Step, parameters: Mapping[str, Tensor], state: dict[str, Tensor]) -> Gradients:
        """Returns the step's gradients inside of the mask."""
        return masked(step(), state)


def _part(name: str, language: frozenset[str]) -> str:
    return "language" if name in language else "vision"


def _fisher(
    forward: Forward, rows: Mapping[str, Rows], parameters: Mapping[str, Tensor], language: frozenset[str]
) -> Grads:
    """Mean squared gradients: of the language part over all rows, of the vision part over those with an image."""
    total, counts = zeros(parameters), {"language": 0, "vision": 0}
    for modality, given in rows.items():
        squares, count = squared_gradients(forward, given(1), parameters)
        total = {name: value + squares[name] for name, value in total.items()}
        counts["language"] += count
        counts["vision"] += count if modality == "image" else 0
    if not counts["language"]:
        raise ValueError("there are no rows to measure the Fisher information on; give at least one of each side.")
    return {name: value / max(1, counts[_part(name, language)]) for name, value in total.items()}
