import random
from collections import Counter

import pytest
import torch
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.keeping import KeptRows
from unlearn_train.pairs import PairCollator, Pairs, pair_order


def order(forget, retain, *, epochs=1.0, seed=0, step=4):
    """Pairs of rows whose lengths are 10 to 59."""
    sides = ([10 + 7 * n % 50 for n in range(count)] for count in (forget, retain))
    return pair_order(*sides, pairs=round(epochs * forget), step=step, seed=seed)


@pytest.mark.parametrize(("forget", "retain"), [(5, 12), (7, 3), (1, 1), (4, 4)])
def test_every_forget_row_is_met_once_an_epoch(forget, retain):
    chosen = [pair[0] for pair in order(forget, retain, epochs=3)]
    for epoch in range(3):
        assert sorted(chosen[epoch * forget : (epoch + 1) * forget]) == list(range(forget))


@pytest.mark.parametrize(("forget", "retain"), [(5, 12), (7, 3), (40, 11)])
def test_no_retain_row_is_met_again_before_all_were(forget, retain):
    chosen = [pair[1] for pair in order(forget, retain, epochs=4)]
    for turn in range(0, len(chosen), retain):
        assert max(Counter(chosen[turn : turn + retain]).values()) == 1


def test_the_order_is_a_matter_of_the_seed():
    assert order(20, 30, seed=1) == order(20, 30, seed=1)
    assert order(20, 30, seed=1) != order(20, 30, seed=2)
    assert order(20, 30, epochs=1, seed=1) == order(20, 30, epochs=2, seed=1)[:20]
    state = torch.get_rng_state()
    order(20, 30)
    assert torch.equal(state, torch.get_rng_state()), "nobody else's randomness is used up"


def padded(lengths, chosen, step):
    """Tokens of batches that are each as long as their longest row."""
    batches = [[lengths[row] for row in chosen[start : start + step]] for start in range(0, len(chosen), step)]
    return sum(len(batch) * max(batch) for batch in batches)


@pytest.mark.parametrize("retain", [100, 400])
def test_rows_of_a_step_are_about_as_long(retain):
    step, epochs = 8, 3
    draw = random.Random(7)
    lengths = [[round(draw.lognormvariate(4, 0.5)) for _ in range(count)] for count in (100, retain)]
    pairs = pair_order(*lengths, pairs=epochs * 100, step=step, seed=0)
    for side, own in enumerate(lengths):
        chosen = [pair[side] for pair in pairs]
        mixed = padded(own, draw.sample(chosen, len(chosen)), step)
        assert padded(own, chosen, step) < 1.25 * sum(own[row] for row in chosen) < mixed
    means = [
        [sum(own[pair[side]] for pair in pairs[start : start + step]) for side, own in enumerate(lengths)]
        for start in range(0, len(pairs), step)
    ]
    near = [abs(forget - kept) < 0.25 * max(forget, kept) for forget, kept in means]
    assert sum(near) > 0.75 * len(near), "the sides of a step are alike too"


def test_no_two_epochs_have_the_same_steps():
    pairs = order(40, 400, epochs=2)
    steps = [frozenset(forget for forget, _ in pairs[start : start + 4]) for start in range(0, 80, 4)]
    assert set(steps[:10]) != set(steps[10:])
    sizes = [sum(10 + 7 * forget % 50 for forget in step) for step in steps[:10]]
    assert sizes != sorted(sizes), "steps come in any order"


def kept(*counts):
    """Numbers of the answer tokens of rows: 10, 11, … of the first, 20, 21, … of the second."""
    values = torch.tensor([10.0 * (row + 1) + n for row, count in enumerate(counts) for n in range(count)])
    ends = [sum(counts[:row]) for row in range(len(counts) + 1)]
    return KeptRows(values, {row: slice(*ends[row : row + 2]) for row in range(len(counts))})


def test_a_pair_holds_what_belongs_together():
    pairs = Pairs(
        ["f0", "f1", "f2"],
        ["r0", "r1"],
        [(2, 0), (0, 1), (1, 0)],
        others={"idk": ["i0", "i1", "i2"], "random": ["r0", "r1", "r2"]},
        kept={"forget": {"logps": kept(2, 1, 3)}, "retain": {"states": kept(1, 2)}},
    )
    assert len(pairs) == 3
    assert [pair.forget + pair.retain for pair in (pairs[n] for n in range(3))] == ["f2r0", "f0r1", "f1r0"]
    assert pairs[0].others == {"idk": "i2", "random": "r2"}
    assert pairs[0].kept["forget"]["logps"].tolist() == [30.0, 31.0, 32.0]
    assert pairs[1].kept["retain"]["states"].tolist() == [20.0, 21.0]


def test_sides_are_padded_each_for_itself(llama, make_row):
    tokenizer = llama[1]
    forget = EncodedRows(tokenizer, [make_row("a/qa/1", "Who?", "A."), make_row("a/qa/2", "Who is it?", "A B.")])
    retain = EncodedRows(tokenizer, [make_row("b/qa/1", "Who was it whom you saw?", "It was C, a baker.")])
    collate = PairCollator(Collator(tokenizer))
    bare = Pairs(forget, retain, [(1, 0), (0, 0)])
    batch = collate([bare[0], bare[1]])
    assert sorted(batch) == ["forget", "kept", "retain"]
    assert batch["kept"] == {}
    assert batch["forget"]["input_ids"].shape == (2, max(len(forget[n].input_ids) for n in (0, 1)))
    assert batch["retain"]["input_ids"].shape == (2, len(retain[0].input_ids))
    named = {"forget": {"logps": kept(1, 2)}, "idk": {"logps": kept(2, 1)}}
    full = Pairs(forget, retain, [(1, 0), (0, 0)], others={"idk": forget}, kept=named)
    batch = collate([full[0], full[1]])
    assert sorted(batch) == ["forget", "idk", "kept", "retain"]
    assert batch["kept"]["forget"]["logps"].tolist() == [20.0, 21.0, 10.0]
    assert batch["kept"]["idk"]["logps"].tolist() == [20.0, 10.0, 11.0]
