"""Several batches in one pass give what each by itself gives."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from torch import Tensor
from unlearn_core import METHODS, Asked, Batch, Forward, JointForward, Method, build_method
from unlearn_core.losses import token_logps

OTHERS = ("idk", "alternate", "random", "shuffled")


class Counting(Forward):
    """Says of every position something that depends on its row and place alone, and counts its runs."""

    def __init__(self) -> None:
        self.table = torch.randn(9, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
        self.runs: list[tuple[str, int]] = []
        self.seen: list[Mapping[str, Tensor]] = []

    def __call__(self, batch: Batch) -> Tensor:
        self.runs.append(("logits", len(batch.labels)))
        self.seen.append(batch.inputs)
        return self.table[batch.inputs["input_ids"]][:, -batch.labels.shape[1] :]

    def hidden(self, batch: Batch, layer: int) -> Tensor:
        self.runs.append((f"layer {layer}", len(batch.labels)))
        return (layer + 1) * self.table[batch.inputs["input_ids"]][:, -batch.labels.shape[1] :]

    def steered(self, steers: Any) -> Forward:
        return self


def make(rows: int, seed: int, **more: Tensor) -> Batch:
    ids = torch.randint(1, 5, (rows, 6), generator=torch.Generator().manual_seed(seed))
    labels = ids[:, 3:].clone()
    labels[:, 0] = -100
    return Batch(inputs={"input_ids": ids, **more}, labels=labels)


def test_parts_are_those_of_each_alone_and_come_from_one_run() -> None:
    batches = [make(2, 0), make(3, 1), make(1, 2)]
    alone, joint = Counting(), JointForward(inner := Counting(), batches)
    for batch in reversed(batches):
        torch.testing.assert_close(joint(batch), alone(batch), rtol=0, atol=0)
        torch.testing.assert_close(joint.token_logps(batch), token_logps(alone(batch), batch.labels))
        torch.testing.assert_close(joint.hidden(batch, 1), alone.hidden(batch, 1), rtol=0, atol=0)
    assert inner.runs == [("logits", 6), ("layer 1", 6)]


def test_gradients_are_those_of_each_alone() -> None:
    batches = [make(2, 0), make(3, 1)]
    alone, joint = Counting(), JointForward(inner := Counting(), batches)
    for forward in (alone, joint):
        (forward.token_logps(batches[0]).sum() - 3 * forward(batches[1]).square().sum()).backward()
    torch.testing.assert_close(inner.table.grad, alone.table.grad)


def test_inputs_that_some_batches_lack() -> None:
    types, image = torch.ones(2, 6, dtype=torch.long), torch.rand(1, 3, 4, 4)
    batches = [make(2, 0, token_type_ids=types, pixel_values=image), make(1, 1), make(1, 2, pixel_values=2 * image)]
    JointForward(inner := Counting(), batches)(batches[1])
    (seen,) = inner.seen
    assert torch.equal(seen["token_type_ids"], torch.cat([types, torch.zeros(2, 6, dtype=torch.long)]))
    assert torch.equal(seen["pixel_values"], torch.cat([image, 2 * image])), "images in the order of their rows"


class Frugal(Counting):
    """Has log-probabilities without logits."""

    def token_logps(self, batch: Batch) -> Tensor:
        self.runs.append(("logps", len(batch.labels)))
        return token_logps(self.table[batch.inputs["input_ids"]][:, -batch.labels.shape[1] :], batch.labels)


def test_another_batch_runs_by_itself() -> None:
    joint = JointForward(inner := Frugal(), [make(2, 0), make(1, 1)])
    other = make(3, 2)
    torch.testing.assert_close(joint.token_logps(other), token_logps(Counting()(other), other.labels))
    assert inner.runs == [("logps", 3)]
    assert joint.steered({}) is inner


def test_batches_of_unlike_lengths_are_refused() -> None:
    short = Batch(inputs={"input_ids": torch.ones(1, 4, dtype=torch.long)}, labels=torch.ones(1, 3, dtype=torch.long))
    for batches in ([make(1, 0), short], []):
        with pytest.raises(ValueError, match="batches that run together must be as long as one another"):
            JointForward(Counting(), batches)


class Asking:
    """Batches that write down what a method asks the reference about them."""

    def __init__(self, method: Method, step: int) -> None:
        self.asked: set[Asked] = set()
        self.sides = {name: self._side(name, seed, step, method) for seed, name in enumerate(("retain", *OTHERS), 1)}
        self.sides["forget"] = self._side("forget", 0, step, method, **{name: self.sides[name] for name in OTHERS})

    def _side(self, name: str, seed: int, step: int, method: Method, **others: Batch) -> Batch:
        plain = make(2, seed)

        def logits() -> Tensor:
            self.asked.add(Asked(name))
            return Counting()(plain).detach() + 0.1

        def hidden(layer: int) -> Tensor:
            self.asked.add(Asked(name, layer))
            return Counting().hidden(plain, layer).detach() + 0.1

        return Batch(
            inputs=plain.inputs,
            labels=plain.labels,
            ref_logps=torch.tensor([-1.0, -2.0]),
            ref_logits=logits,
            ref_hidden=hidden,
            step=step,
            steps=8,
            state=method.start(),
            **others,
        )


def _methods() -> dict[str, Method]:
    forms = {f"graddiff {form}": build_method("graddiff", forget_form=form) for form in ("kl", "entropy")}
    forms["graddiff retain kl"] = build_method("graddiff", retain_form="kl")
    return {**{name: build_method(name) for name in METHODS if name != "lat"}, **forms}


@pytest.mark.parametrize("name", _methods())
def test_methods_say_what_they_run_together_and_ask_the_reference(name: str) -> None:
    method = _methods()[name]
    asked: set[Asked] = set()
    for step in range(8):
        asking = Asking(method, step)
        forget, retain = asking.sides["forget"], asking.sides["retain"]
        forward = Counting()
        alone = method.loss(forward, forget, retain)
        asked |= asking.asked
        if method.together:
            joint = JointForward(inner := Counting(), [asking.sides[side] for side in method.together])
            torch.testing.assert_close(method.loss(joint, forget, retain), alone)
            assert [rows for _, rows in inner.runs] == [2 * len(method.together)], "one run, of all of them"
            assert len(forward.runs) == len(method.together)
        else:
            assert len(forward.runs) == 1
    assert method.references() == asked


def test_a_method_around_another_asks_what_that_asks() -> None:
    inner = build_method("kl")
    around = build_method("lat", inner=inner)
    assert around.references() == inner.references() == {Asked("retain")}
    assert around.together == ()
