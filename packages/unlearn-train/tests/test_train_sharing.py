from types import SimpleNamespace

import pytest
import torch
from torch.utils.data import SequentialSampler
from unlearn_train.lengths import LengthSampler
from unlearn_train.sharing import IDLE, EveryWeightMoves, _AlwaysSeeing, rows_each, share_batches


@pytest.fixture
def among(monkeypatch):
    """Has this be one of several processes."""

    def be(rank, count):
        monkeypatch.setenv("RANK", str(rank))
        monkeypatch.setenv("WORLD_SIZE", str(count))

    return be


def collate(rows):
    return {"rows": list(rows)}


def parts(among, rows, size, count, epoch=0):
    """Every batch, as the parts that the processes take of it."""
    loaders = []
    for rank in range(count):
        among(rank, count)
        loader = share_batches(rows, LengthSampler([len(row) for row in rows], size, seed=1), size, collate)
        loader.batch_sampler.batch_sampler.set_epoch(epoch)
        loaders.append(list(loader))
    assert len({len(batches) for batches in loaders}) == 1
    return list(zip(*loaders, strict=True))


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("total", [8, 17, 21])
def test_a_batch_is_the_same_rows_however_many_share_it(among, count, total):
    rows = [f"{n}" * (n % 5 + 1) for n in range(total)]
    whole = [one["rows"] for (one,) in parts(among, rows, 8, 1)]
    shared = parts(among, rows, 8, count)
    counted = [[row for part in batch if IDLE not in part for row in part["rows"]] for batch in shared]
    assert [sorted(batch) for batch in counted] == [sorted(batch) for batch in whole]
    assert sorted(row for batch in counted for row in batch) == sorted(rows), "each once"
    assert all(len(part["rows"]) > 0 for batch in shared for part in batch), "and nobody waits"
    assert all(max(len(p["rows"]) for p in batch) - min(len(p["rows"]) for p in batch) <= 1 for batch in shared)


def test_epochs_have_orders_of_their_own(among):
    rows = [f"{n}" for n in range(40)]
    assert parts(among, rows, 8, 2, epoch=0) != parts(among, rows, 8, 2, epoch=1)
    assert parts(among, rows, 8, 2, epoch=1) == parts(among, rows, 8, 2, epoch=1)


def test_an_order_without_epochs_will_do(among):
    among(1, 2)
    loader = share_batches(["a", "b", "c", "d", "e"], SequentialSampler(range(5)), 4, collate)
    loader.batch_sampler.set_epoch(3)
    assert list(loader) == [{"rows": ["b", "d"]}, {"rows": ["e"], IDLE: True}]
    assert len(loader) == 2


def test_rows_are_split_alike(among):
    among(0, 4)
    assert rows_each(8, 4) == 2
    with pytest.raises(ValueError, match="4 processes cannot share 3 rows; start at most 3"):
        rows_each(8, 3)
    with pytest.raises(ValueError, match="must be a multiple of 4, got 6; set it to 4 or 8"):
        rows_each(6, 100)
    with pytest.raises(ValueError, match="must be a multiple of 4, got 3; set it to 4"):
        rows_each(3, 100)


@pytest.mark.parametrize("decay", [0.0, 0.1])
def test_a_weight_that_is_reached_late_moves_as_if_its_gradient_had_been_0(decay):
    gradients = [None, None, [1.0, -2.0], None, [0.5, 0.5]]
    moved = []
    for fills in (True, False):
        weight = torch.nn.Parameter(torch.tensor([1.0, 2.0]))
        optimizer = torch.optim.AdamW([weight], lr=0.1, weight_decay=decay)
        for step, gradient in enumerate(gradients):
            weight.grad = None if gradient is None else torch.tensor(gradient)
            if fills:
                state = type("State", (), {"global_step": step})()
                EveryWeightMoves().on_pre_optimizer_step(None, state, None, optimizer=optimizer)
            elif gradient is None:
                weight.grad = torch.zeros(2)
            optimizer.step()
        moved.append(weight.detach())
    torch.testing.assert_close(moved[0], moved[1], rtol=0, atol=1e-7)


def test_a_weight_that_is_never_reached_takes_no_memory():
    weight = torch.nn.Parameter(torch.ones(2))
    optimizer = torch.optim.AdamW([weight], weight_decay=0.0)
    EveryWeightMoves().on_pre_optimizer_step(None, None, None, optimizer=optimizer)
    assert weight.grad is None
    assert not optimizer.state


def test_all_that_a_tower_gives_the_decoder_is_used_without_an_image_too():
    tower = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in ("merger", "deepstack", "unused")})

    class Model(torch.nn.Module):
        device, dtype = torch.device("cpu"), torch.float32

        def __init__(self):
            super().__init__()
            self.tower, self.decoder = tower, torch.nn.Identity()

        def get_decoder(self):
            return self.decoder

        def get_image_features(self, pixel_values):
            found = {name: layer(pixel_values) for name, layer in self.tower.items()}
            deep = [found["deepstack"]]
            return SimpleNamespace(pooler_output=found["merger"], deepstack_features=deep, last=found["unused"])

    model = Model()
    seeing = _AlwaysSeeing(model, {"pixel_values": torch.ones(1, 2)})
    torch.stack([each.sum() for each in seeing._features()]).sum().backward()
    assert {name for name, layer in tower.items() if layer.weight.grad is not None} == {"merger", "deepstack"}
