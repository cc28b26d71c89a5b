"""A training that comes upon what is not finite stops and leaves the weights that it had."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from unlearn_core import LossParts, Method, build_method
from unlearn_core.losses import nll_loss
from unlearn_train.settings import TrainOptions
from unlearn_train.training import finetune
from unlearn_train.unlearning import forget

pytestmark = pytest.mark.parametrize("kind", ["llama"])
STEPS = {"batch_size": 1, "epochs": 4, "learning_rate": 1e-3, "schedule": "constant", "warmup": 0.0}


def weights(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def is_finite(model):
    return all(torch.isfinite(value).all() for value in model.parameters())


@dataclass(frozen=True, kw_only=True)
class Breaking(Method):
    """Multiplies its loss from the third batch on, or has a gradient there that is not finite."""

    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"forget", "retain"})
    by: float = 1.0
    root: bool = False

    def loss(self, forward, forget, retain):
        retained = nll_loss(forward(retain), retain.labels)
        if retain.step < 2:
            return LossParts(retained, retained, retained)
        if self.root:  # 0, with an infinite slope
            return LossParts((retained - retained).sqrt() + retained, retained, retained)
        return LossParts(retained * self.by, retained, retained * self.by)


@pytest.mark.parametrize(
    ("method", "message"),
    [
        (Breaking(by=float("inf")), r"the retain loss of Breaking.* is not finite at step 3 \({'forget': .*"),
        (Breaking(by=float("nan")), r"the retain loss of Breaking.* is not finite at step 3"),
        (
            Breaking(root=True),
            r"the gradient is not finite at step 3 \({'forget': .*",
        ),  # NaN, in all once it is clipped
    ],
    ids=str,
)
def test_the_weights_of_the_last_good_step_are_kept(fresh, sides, method, message):
    broken, processor = fresh()
    with pytest.raises(FloatingPointError, match=message):
        forget(broken, processor, method, *sides, TrainOptions(**STEPS), quiet=True)
    good, _ = fresh()
    forget(good, processor, Breaking(), *sides, TrainOptions(**{**STEPS, "epochs": 2 / len(sides[0])}), quiet=True)
    expected = weights(good)
    assert all(torch.equal(value, expected[name]) for name, value in broken.state_dict().items())


def test_finetuning_keeps_them_too(fresh, sides, monkeypatch):
    model, processor = fresh()
    steps = []

    def spoil(gradient):
        steps.append(1)
        return gradient * float("inf") if len(steps) == 3 else gradient

    model.get_output_embeddings().weight.register_hook(spoil)
    before = weights(model)
    with pytest.raises(
        FloatingPointError,
        match=r"the gradient of `model\.embed_tokens\.weight` is not finite at step 3 \({'loss': .*; lower",
    ):
        finetune(model, processor, sides[0], TrainOptions(**STEPS), quiet=True)
    assert is_finite(model)
    assert any(not torch.equal(value, before[name]) for name, value in model.state_dict().items())


@pytest.mark.parametrize("decay", [0.0, 10.0])
def test_a_step_that_would_leave_the_range_of_floats_is_not_taken(fresh, sides, decay):
    model, processor = fresh()
    before = weights(model)
    options = TrainOptions(**{**STEPS, "learning_rate": 1e38, "weight_decay": decay})
    with pytest.raises(FloatingPointError, match=r"weights would not be finite after a step of size 1e\+38 at step 1"):
        forget(model, processor, build_method("graddiff"), *sides, options, quiet=True)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
