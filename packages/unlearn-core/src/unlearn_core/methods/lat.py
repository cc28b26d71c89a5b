"""Latent adversarial training, around any other method."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.batch import Batch
from unlearn_core.forward import Forward
from unlearn_core.losses._answers import IGNORED
from unlearn_core.method import Asked, LossParts, Method, Need
from unlearn_core.methods._terms import supplied
from unlearn_core.methods.graddiff import GradDiff
from unlearn_core.methods.sku import SKU

PLAIN = GradDiff()


@dataclass(frozen=True, kw_only=True)
class LAT(Method):
    """Latent adversarial training.

    The loss of another method, under an attack: a perturbation of one layer's output at the prompt of the rows to
    forget, at most ε long at each position, that descends the NLL of the answers to forget. So what is trained is not
    to answer even with its thoughts pushed towards the answer. Rows to keep are left alone.

    Attributes:
        inner: The method whose loss it is. Default GradDiff, the plainest.
        layer: Whose output is perturbed, counted from 0; negative from the end. Default 8, the first inner one of the
            five that the paper perturbs in a model of 8B.
        epsilon: ε, the greatest length of the perturbation at a position. Default 6, as in the paper on the same model.
        step_size: How far a step of the attack goes at each position, before it is cut to ε. Default 1.5: a quarter of
            ε, chosen here.
        attack_steps: Steps of the attack. Default 8: half of the paper's, which are not normalized.
    """

    paper: ClassVar[str] = "Sheshadri et al. 2024, https://arxiv.org/abs/2407.15549"
    summary: ClassVar[str] = (
        "Any method, while the hidden states of the prompts are pushed towards the answers to forget."
    )
    needs: ClassVar[frozenset[Need]] = frozenset({"forget"})

    inner: Method = PLAIN
    layer: int = 8
    epsilon: float = 6.0
    step_size: float = 1.5
    attack_steps: int = 8

    def __post_init__(self) -> None:
        if not isinstance(self.inner, Method):
            raise TypeError(
                f"`inner` must be a loss method, got {self.inner!r}: `build_method` makes one from its name."
            )
        if isinstance(self.inner, SKU):
            raise ValueError(
                f"`inner` must be a loss that forgets, got {self.inner!r}, which learns what its second stage takes "
                "away: choose another."
            )
        _checks.whole("layer", self.layer)
        _checks.positive("epsilon", self.epsilon)
        _checks.positive("step_size", self.step_size)
        _checks.whole("attack_steps", self.attack_steps, least=0)

    def asks(self) -> frozenset[Need]:
        """Returns what the inner method asks for, and rows to forget."""
        return self.needs | self.inner.asks()

    def references(self) -> frozenset[Asked]:
        """Returns what the inner method asks the reference."""
        return self.inner.references()

    def start(self) -> dict[str, float]:
        """Returns the inner method's state."""
        return self.inner.start()

    def advance(self, state: Mapping[str, float], terms: Mapping[str, float]) -> dict[str, float]:
        """Returns the inner method's next state."""
        return self.inner.advance(state, terms)

    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns the inner method's loss with the prompts of the rows to forget perturbed."""
        attack = self._attack(forward, supplied(forget, "forget"))
        return self.inner.loss(_pushed(forward, self.layer, attack, spared=retain), forget, retain)

    def _attack(self, forward: Forward, forget: Batch) -> Tensor:
        """The perturbation, [rows, longest prompt, width]: projected descent, each position by its own unit step."""
        attack = _blank(forward, forget, self.layer)
        for _ in range(self.attack_steps):
            attack.requires_grad_()
            loss = -_pushed(forward, self.layer, attack, spared=None).token_logps(forget).mean()
            (slope,) = torch.autograd.grad(loss, attack)
            moved = attack.detach() - self.step_size * F.normalize(slope, dim=-1)
            attack = moved * (self.epsilon / moved.norm(dim=-1, keepdim=True).clamp(min=self.epsilon))
        return attack.detach()


def _blank(forward: Forward, forget: Batch, layer: int) -> Tensor:
    """A perturbation of nothing, at every position that is a prompt's in any of the rows."""
    seen: list[Tensor] = []

    def look(batch: Batch, hidden: Tensor) -> Tensor:
        longest = int(_prompts(batch, hidden.shape[1]).sum(1).max())
        seen.append(hidden.new_zeros(len(hidden), longest, hidden.shape[-1], dtype=_fine(hidden)))
        return hidden

    with torch.no_grad():
        forward.steered({layer: look}).hidden(forget, layer)
    return seen[0]


def _pushed(forward: Forward, layer: int, attack: Tensor, *, spared: Batch | None) -> Forward:
    """A forward that adds the perturbation to the prompts of every batch but one; the others have the same prompts."""

    def push(batch: Batch, hidden: Tensor) -> Tensor:
        if batch is spared:
            return hidden
        length, longest = hidden.shape[1], attack.shape[1]
        prompts = _prompts(batch, length)[:, :longest, None]
        return hidden + F.pad(attack * prompts, (0, 0, 0, length - longest)).to(hidden.dtype)

    return forward.steered({layer: push})


def _prompts(batch: Batch, length: int) -> Tensor:
    """Marks the positions before each row's first answer token: [rows, length]."""
    first = (batch.labels != IGNORED).int().argmax(1) + length - batch.labels.shape[1]
    return torch.arange(length, device=first.device) < first[:, None]


def _fine(value: Tensor) -> torch.dtype:
    return torch.promote_types(value.dtype, torch.float32)
