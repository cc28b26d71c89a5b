import random
from itertools import pairwise

import pytest
from unlearn_train.collation import EncodedRows
from unlearn_train.lengths import LengthSampler


@pytest.fixture(scope="module")
def lengths():
    order = random.Random(0)
    return [int(order.lognormvariate(4, 0.6)) for _ in range(403)]


def padding(order, lengths, size):
    batches = [order[start : start + size] for start in range(0, len(order), size)]
    return sum(len(batch) * max(lengths[row] for row in batch) for batch in batches) / sum(lengths)


def test_an_epoch_is_every_row_once(lengths):
    assert sorted(LengthSampler(lengths, 16, seed=0)) == list(range(len(lengths)))
    assert len(LengthSampler(lengths, 16, seed=0)) == len(lengths)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 17])
def test_fewer_rows_than_a_batch_are_all_there(lengths, count):
    assert sorted(LengthSampler(lengths[:count], 16, seed=0)) == list(range(count))


def test_little_is_padding(lengths):
    order = list(LengthSampler(lengths, 16, seed=0))
    assert padding(order, lengths, 16) < 1.15
    assert padding(random.Random(0).sample(order, len(order)), lengths, 16) > 2


def test_batches_come_in_no_order_of_length(lengths):
    order = list(LengthSampler(lengths, 1, seed=0))
    ascents = sum(lengths[one] < lengths[other] for one, other in pairwise(order))
    assert 0.4 < ascents / len(order) < 0.6


def test_the_order_is_the_seeds_and_the_epochs(lengths):
    sampler = LengthSampler(lengths, 16, seed=0)
    first = list(sampler)
    assert list(sampler) == first == list(LengthSampler(lengths, 16, seed=0))
    sampler.set_epoch(1)
    assert list(sampler) != first
    assert list(LengthSampler(lengths, 16, seed=1)) != first


def test_batches_change_from_epoch_to_epoch(lengths):
    def batches(epoch):
        sampler = LengthSampler(lengths, 16, seed=0)
        sampler.set_epoch(epoch)
        order = list(sampler)
        return {frozenset(order[start : start + 16]) for start in range(0, len(order), 16)}

    assert not batches(0) & batches(1)


def test_rows_with_an_image_count_as_longer_than_any_without(fresh, make_row):
    _, processor = fresh()
    rows = [
        make_row("a/qa/1", "Who?", "Ada.", image=object()),
        make_row("a/qa/2", "What is the long question?", "A long answer."),
        make_row("a/qa/3", "What?", "That."),
    ]
    with_image, long, short = EncodedRows(processor, rows).rough_lengths()
    assert with_image > long > short


def test_rough_lengths_are_out_by_the_same_on_every_row_of_text(fresh, make_row):
    _, processor = fresh()
    encoded = EncodedRows(processor, [make_row(f"a/qa/{n}", "What is it? " * n, "It is that. " * n) for n in (1, 2, 9)])
    off = [len(encoded[n].input_ids) - length for n, length in enumerate(encoded.rough_lengths())]
    assert max(off) - min(off) <= 1


def test_no_rows_have_no_lengths(fresh):
    assert EncodedRows(fresh()[1], []).rough_lengths() == []
