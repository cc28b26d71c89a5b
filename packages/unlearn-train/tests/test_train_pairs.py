from collections import Counter

import pytest
import torch
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.pairs import PairCollator, Pairs


def order(forget, retain, *, epochs=1.0, seed=0):
    return Pairs(range(forget), range(retain), epochs=epochs, seed=seed).order


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


@pytest.mark.parametrize(("epochs", "pairs"), [(0.5, 5), (1.0, 10), (2.3, 23), (0.01, 1)])
def test_epochs_may_be_fractions(epochs, pairs):
    assert len(order(10, 4, epochs=epochs)) == len(Pairs(range(10), range(4), epochs=epochs, seed=0)) == pairs


def test_a_pair_holds_what_belongs_together():
    pairs = Pairs(
        ["f0", "f1", "f2"],
        ["r0", "r1"],
        epochs=2,
        seed=3,
        others={"idk": ["i0", "i1", "i2"], "random": ["r0", "r1", "r2"]},
        ref_logps={"forget": torch.arange(3.0), "idk": 10 + torch.arange(3.0)},
    )
    for pair in (pairs[n] for n in range(len(pairs))):
        number = int(pair.forget[1])
        assert pair.others == {"idk": f"i{number}", "random": f"r{number}"}
        assert pair.ref_logps == {"forget": number, "idk": 10 + number}


def test_sides_are_padded_each_for_itself(llama, make_row):
    tokenizer = llama[1]
    forget = EncodedRows(tokenizer, [make_row("a/qa/1", "Who?", "A."), make_row("a/qa/2", "Who is it?", "A B.")])
    retain = EncodedRows(tokenizer, [make_row("b/qa/1", "Who was it whom you saw?", "It was C, a baker.")])
    collate = PairCollator(Collator(tokenizer))
    bare = Pairs(forget, retain, epochs=1, seed=0)
    batch = collate([bare[0], bare[1]])
    assert sorted(batch) == ["forget", "ref_logps", "retain"]
    assert batch["ref_logps"] == {}
    assert batch["forget"]["input_ids"].shape == (2, max(len(forget[n].input_ids) for n in (0, 1)))
    assert batch["retain"]["input_ids"].shape == (2, len(retain[0].input_ids))
    full = Pairs(
        forget,
        retain,
        epochs=1,
        seed=0,
        others={"idk": forget},
        ref_logps={"forget": torch.tensor([-1.0, -2.0]), "idk": torch.tensor([-3.0, -4.0])},
    )
    batch = collate([full[0], full[1]])
    assert sorted(batch) == ["forget", "idk", "ref_logps", "retain"]
    rows = [forget_row for forget_row, _ in full.order]
    assert batch["ref_logps"]["forget"].tolist() == [[-1.0, -2.0][n] for n in rows]
    assert batch["ref_logps"]["idk"].tolist() == [[-3.0, -4.0][n] for n in rows]
