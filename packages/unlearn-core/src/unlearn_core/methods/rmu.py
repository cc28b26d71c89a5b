"""Representation misdirection."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses import rmu_loss
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import supplied, weigh


@dataclass(frozen=True, kw_only=True)
class RMU(Method):
    """Representation misdirection for unlearning.

    γ · ‖h - c·u‖² on forget + α · ‖h - h_ref‖² on retain, of the hidden states h of one layer where answers are
    predicted. It drives those of the answers to forget to one random vector, and holds those of the answers to keep.

    Attributes:
        layer: Whose output is h, counted from 0; negative from the end. Default 7, as in the paper on a model of 7B.
        scale: c, the length of the vector. Default 6.5, as in the paper.
        seed: Of the direction u, whose coordinates are uniform in [0, 1) before it is normalized. Default 0.
        forget_weight: γ, the weight of the forget term. Default 1, as in the paper.
        retain_weight: α, the weight of the retain term. Default 1200, likewise.
    """

    paper: ClassVar[str] = "Li et al. 2024, https://arxiv.org/abs/2403.03218"
    summary: ClassVar[str] = "Drives the hidden states of the answers to forget to a random vector, holds the others."
    needs: ClassVar[frozenset[Need]] = frozenset({"forget", "retain", "ref_hidden"})
    together: ClassVar[tuple[Need, ...]] = ("forget", "retain")

    layer: int = 7
    scale: float = 6.5
    seed: int = 0
    forget_weight: float = 1.0
    retain_weight: float = 1200.0

    def __post_init__(self) -> None:
        _checks.whole("layer", self.layer)
        _checks.positive("scale", self.scale)
        _checks.whole("seed", self.seed)
        _checks.positive("forget_weight", self.forget_weight)
        _checks.non_negative("retain_weight", self.retain_weight)

    def references(self) -> frozenset[Asked]:
        """Returns the reference's hidden states on retain."""
        return frozenset({Asked("retain", self.layer)})

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns γ · ‖h - c·u‖² on forget + α · ‖h - h_ref‖² on retain."""
        forget, retain = supplied(forget, "forget"), supplied(retain, "retain")
        ref_hidden = supplied(retain.ref_hidden, "ref_hidden")(self.layer)
        hidden = forward.hidden(forget, self.layer)
        aim = (self.scale * _direction(hidden.shape[-1], self.seed)).to(hidden)
        forget_loss = rmu_loss(hidden, aim, forget.labels) * forget.token_share
        retain_loss = rmu_loss(forward.hidden(retain, self.layer), ref_hidden, retain.labels) * retain.token_share
        return weigh(forget_loss, retain_loss, forget_weight=self.forget_weight, retain_weight=self.retain_weight)


def _direction(width: int, seed: int) -> Tensor:
    """The same random unit vector for every batch, device and type."""
    drawn = torch.rand(width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    unit: Tensor = drawn / drawn.norm()
    return unit
