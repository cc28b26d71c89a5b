"""Batches whose logits and hidden states are their input, so that a gradient is seen position by position."""

from collections.abc import Callable, Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from unlearn_core import Batch, Forward
from unlearn_core.forward import Steer

VOCAB = 6
# prompt or image positions, answer, padding; answers of 1 to 5 tokens, one after a second turn's prompt
LABELS = {
    "forget": [[-100, -100, 3, 1, 0, -100], [-100, 2, -100, -100, -100, -100], [-100, -100, 5, -100, 5, 0]],
    "retain": [[-100, 1, 2, 3, 4, 0], [-100, -100, -100, -100, -100, 2]],
    "idk": [[-100, -100, 4, 4, 4, 0], [-100, 4, 0, -100, -100, -100], [-100, -100, 4, 0, -100, -100]],
    "alternate": [[-100, -100, 2, 2, 0, -100], [-100, 5, 1, 1, 0, -100], [-100, -100, 1, 2, 3, 0]],
    "random": [[-100, -100, 1, 0, -100, -100], [-100, 3, 0, -100, -100, -100], [-100, -100, 2, 1, 1, 0]],
    "shuffled": [[-100, -100, 5, 5, 0, -100], [-100, 3, 1, 0, -100, -100], [-100, -100, 2, 0, -100, -100]],
}
OTHERS = ("idk", "alternate", "random", "shuffled")


class Leaves(Forward):
    """A model of two layers that change nothing: every layer's output is the batch's own logits."""

    def __init__(self, steers: tuple[tuple[int, Steer], ...] = ()) -> None:
        self.steers = steers

    def __call__(self, batch: Batch) -> Tensor:
        return self.hidden(batch, 1)

    def hidden(self, batch: Batch, layer: int) -> Tensor:
        state = batch.inputs["logits"]
        for at in range(layer % 2 + 1):
            for steered, steer in self.steers:
                if steered % 2 == at:
                    state = steer(batch, state)
        return state[:, -batch.labels.shape[1] :]

    def steered(self, steers: Mapping[int, Steer]) -> "Leaves":
        return Leaves((*self.steers, *steers.items()))


def _make(side: str, *, seed: int, **more: Any) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    labels = torch.tensor(LABELS[side])
    logits, ref = (2 * torch.randn(2, *labels.shape, VOCAB, generator=generator, dtype=torch.float64)).unbind()
    logps = torch.rand(len(labels), generator=generator, dtype=torch.float64)
    others = {name: _make(name, seed=seed + n, **more) for n, name in enumerate(OTHERS, 10) if side == "forget"}
    return Batch(
        inputs={"logits": logits.clone().requires_grad_()},
        labels=labels,
        ref_logps=-9 * logps,
        ref_logits=lambda: ref,
        ref_hidden=lambda layer: ref * (layer + 2) / 2,
        state={"dual": 3.0},
        **others,
        **more,
    )


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    """Makes the batch of a side, `forget` with all the other answers to its questions."""
    return _make


@pytest.fixture
def forward() -> Forward:
    return Leaves()


@pytest.fixture
def forget() -> Batch:
    return _make("forget", seed=1)


@pytest.fixture
def retain() -> Batch:
    return _make("retain", seed=2)
