"""Gradient transforms inside of the trainer: whole steps, any loss, frozen weights."""

from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from unlearn_core import METHODS, SAM, Transform, build_method
from unlearn_train.settings import TrainOptions
from unlearn_train.unlearning import forget

EPOCHS = {"epochs": 2.5, "learning_rate": 1e-3, "warmup": 0.0}
# The models have two layers.
OPTIONS = {"rmu": {"layer": 1}, "circuit_breaker": {"layer": 1}, "lat": {"layer": 0, "attack_steps": 1}}

# what an entry of the log says of the machine
PACE = ("tokens_per_second", "peak_memory_gib")


@dataclass(frozen=True, kw_only=True)
class Idle(Transform):
    """Lets everything through, and writes down what that is."""

    paper: ClassVar[str] = ""
    summary: ClassVar[str] = ""
    needs: ClassVar[frozenset[str]] = frozenset({"kept"})
    seen: ClassVar[list] = []

    def gradients(self, step, parameters, state):
        self.seen.append(step())
        return self.seen[-1]


def weights(model):
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def distance(one, other):
    return max(float((value - other[name]).abs().max()) for name, value in one.items())


def trained(fresh, sides, method, transforms=(), given=None, **options):
    model, processor = fresh()
    model.double()  # rounding cannot be mistaken for a fault
    log = forget(
        model,
        processor,
        build_method(method, **(given or OPTIONS.get(method, {}))),
        *sides,
        TrainOptions(**{**EPOCHS, **options}),
        transforms=transforms,
        quiet=True,
    )
    return weights(model), log


@pytest.mark.parametrize("kind", ["llava"])
@pytest.mark.parametrize("method", METHODS)
def test_a_transform_that_does_nothing_changes_nothing(method, fresh, sides):
    plain, log = trained(fresh, sides, method, batch_size=3)
    same, same_log = trained(fresh, sides, method, [Idle()], batch_size=3)
    assert distance(same, plain) < 1e-9
    for one, other in zip(log, same_log, strict=True):
        assert one.keys() == other.keys()
        one = {name: value for name, value in one.items() if name not in PACE}
        said = [name for name in one if name not in ("tokens_per_second", "peak_memory_gib")]
        assert [other[name] for name in said] == pytest.approx([one[name] for name in said], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize("transform", ["gru", "sam", "salun", "wagle", "mmunlearner"])
def test_accumulation_changes_nothing(transform, fresh, sides):
    whole, log = trained(fresh, sides, "graddiff", [build_method(transform)], batch_size=8)
    plain, _ = trained(fresh, sides, "graddiff", batch_size=8)
    split, split_log = trained(fresh, sides, "graddiff", [build_method(transform)], batch_size=2, accumulation=4)
    assert distance(whole, plain) > 1e-5, "the transform changes the weights"
    assert distance(split, whole) < 1e-9
    assert [entry["loss"] for entry in split_log] == pytest.approx([entry["loss"] for entry in log], rel=1e-6, abs=1e-5)


@pytest.mark.parametrize("kind", ["llava"])
@pytest.mark.parametrize(("transform", "options"), [("salun", {"share": 0.1}), ("mmunlearner", {"parts": "vision"})])
def test_weights_outside_of_the_mask_are_frozen_bit_for_bit(transform, options, fresh, sides):
    before = weights(fresh()[0].double())
    after, _ = trained(fresh, sides, "npo", [build_method("sam"), build_method(transform, **options)], epochs=4)
    still = sum(int((after[name] == value).sum()) for name, value in before.items())
    total = sum(value.numel() for value in before.values())
    assert 0 < total - still <= 0.101 * total or transform == "mmunlearner"
    if transform == "mmunlearner":
        moved = {name for name, value in before.items() if not torch.equal(after[name], value)}
        assert moved and all("vision" in name or "projector" in name for name in moved)


@pytest.mark.parametrize("kind", ["llama"])
def test_the_parts_of_a_step_are_what_they_should_be(fresh, sides):
    """Where a method has no retain term or gives it no weight, the retain rows' likelihood stands for it."""
    Idle.seen.clear()
    trained(fresh, sides, "ga", [Idle()], epochs=1, batch_size=64)
    trained(fresh, sides, "graddiff", [Idle()], {"retain_weight": 0.0}, epochs=1, batch_size=64)
    trained(fresh, sides, "retain_finetune", [Idle()], epochs=1, batch_size=64)
    trained(fresh, sides, "graddiff", [Idle()], epochs=1, batch_size=64)
    ga, weightless, retain, both = Idle.seen
    for name in ga.forget:
        assert (ga.retain[name] == 0).all() and (retain.forget[name] == 0).all()
        assert (weightless.retain[name] == 0).all()
        torch.testing.assert_close(ga.kept[name], retain.retain[name], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(weightless.kept[name], retain.retain[name], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(both.kept[name], retain.retain[name], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(both.retain[name], retain.retain[name], rtol=1e-9, atol=1e-14)
        torch.testing.assert_close(both.forget[name], ga.forget[name], rtol=1e-9, atol=1e-14)


def test_weight_decay_would_thaw_what_is_frozen(fresh, sides):
    with pytest.raises(ValueError, match=r"`weight_decay` is 0.1 and would move the weights that SalUn\(share=0.5\)"):
        trained(fresh, sides, "npo", [build_method("salun")], weight_decay=0.1)
    trained(fresh, sides, "npo", [build_method("sam")], weight_decay=0.1, epochs=0.1)


@pytest.mark.parametrize("kind", ["llama"])
def test_a_part_that_the_model_lacks_is_refused(fresh, sides):
    with pytest.raises(ValueError, match="`parts` is 'vision', but no such weight of the model is trained"):
        trained(fresh, sides, "npo", [build_method("mmunlearner", parts="vision")])


@pytest.mark.parametrize("kind", ["llama"])
def test_a_step_that_is_not_finite_stops_the_run_and_leaves_the_weights(fresh, sides):
    model, processor = fresh()
    before = weights(model)
    with pytest.raises(FloatingPointError, match="at step 1"):
        forget(
            model,
            processor,
            build_method("graddiff"),
            *sides,
            TrainOptions(**EPOCHS),
            transforms=[SAM(rho=1e30)],
            quiet=True,
        )
    assert distance(weights(model), before) == 0
