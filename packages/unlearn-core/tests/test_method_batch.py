"""What a method is given."""

import math

import pytest
import torch
from unlearn_core import Batch

LABELS = torch.tensor([[-100, 1, 2], [-100, -100, 3]])


def test_the_whole_step_has_a_share_of_one() -> None:
    batch = Batch(inputs={}, labels=LABELS)
    assert batch.token_share == 1.0
    assert batch.sequence_share == 1.0


def test_a_part_of_the_step_has_its_share_of_answer_tokens_and_of_sequences() -> None:
    batch = Batch(inputs={}, labels=LABELS, step_tokens=12, step_sequences=8)
    assert batch.token_share == 0.25
    assert batch.sequence_share == 0.25


def test_a_label_that_nothing_predicts_has_no_share() -> None:
    first = torch.tensor([[5, 1, 2]])
    assert Batch(inputs={}, labels=first, step_tokens=4).token_share == 0.5


@pytest.mark.parametrize("option", ["step_tokens", "step_sequences"])
def test_an_empty_step_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match=f"`{option}` must be positive, got 0"):
        Batch(inputs={}, labels=LABELS, **{option: 0})


def test_steps_count_from_zero() -> None:
    assert Batch(inputs={}, labels=LABELS, step=2, steps=3).step == 2
    with pytest.raises(ValueError, match="`step` must be below `steps`, got 3 of 3"):
        Batch(inputs={}, labels=LABELS, step=3, steps=3)
    with pytest.raises(ValueError, match="`step` must be at least 0, got -1"):
        Batch(inputs={}, labels=LABELS, step=-1, steps=3)


def test_batches_compare_by_identity() -> None:
    one, other = (Batch(inputs={}, labels=LABELS) for _ in range(2))
    assert one == one != other
    assert not math.isnan(hash(one))
