import logging

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from unlearn_train import keeping
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED
from unlearn_train.keeping import Keeper


def logps(forward, batch):
    return forward.token_logps(batch)


def alone(model, encoded):
    """Log p of each answer token of one row that is not padded, from all logits."""
    with torch.no_grad():
        images = {key: value.to(model.dtype) for key, value in encoded.image_inputs.items()}
        logits = model(input_ids=encoded.input_ids[None], **images).logits[0]
    places = [n for n in range(1, len(encoded.labels)) if encoded.labels[n] != IGNORED]
    return torch.stack([logits[n - 1].log_softmax(-1)[encoded.labels[n]] for n in places])


class Counted(Keeper):
    """Counts the batches that are run."""

    def batch(self, rows):
        self.sizes = [*getattr(self, "sizes", []), [len(row.input_ids) for row in rows]]
        return super().batch(rows)


@pytest.fixture
def encoded_rows(fresh, sides):
    return EncodedRows(fresh()[1], [*sides[0], *sides[1]])


@pytest.fixture
def keeper(fresh, tmp_path):
    """Makes keepers that write to one folder."""

    def make(change=None, *, folder=tmp_path, batch_size=3):
        model, processor = fresh()
        model.double()
        if change:
            change(model)
        return Counted(model, Collator(processor), batch_size=batch_size, folder=folder)

    return make


@pytest.mark.parametrize("batch_size", [1, 2, 16])
def test_what_is_kept_is_what_each_row_alone_gives(keeper, encoded_rows, batch_size):
    made = keeper(folder=None, batch_size=batch_size)
    made.model.train()
    chosen = [0, 3, 1] if batch_size == 2 else range(len(encoded_rows))
    kept = made.keep(encoded_rows, chosen, "logps", logps)
    assert made.model.training
    for row in chosen:
        torch.testing.assert_close(kept[row], alone(made.model.eval(), encoded_rows[row]), atol=1e-9, rtol=0)
    lengths = [length for sizes in made.sizes for length in sizes]
    assert lengths == sorted(lengths), "rows of like length are run together"
    assert max(map(len, made.sizes)) == min(batch_size, len(chosen))


@pytest.mark.parametrize("kind", ["llama"])
def test_it_is_computed_once(keeper, encoded_rows, tmp_path, caplog):
    first = keeper().keep(encoded_rows, range(4), "logps", logps)
    again = keeper()
    found = again.keep(encoded_rows, range(4), "logps", logps)
    assert not hasattr(again, "sizes"), "nothing was run"
    assert torch.equal(found.values, first.values) and found.places == first.places
    assert [path.name[:6] for path in tmp_path.iterdir()] == ["logps-"], "nothing half-written is left"
    assert caplog.records == []


def change_a_weight(model):
    next(model.parameters()).data[0, 0] += 1e-9


def change_the_configuration(model):
    model.config.get_text_config().rope_parameters = {"rope_theta": 5.0, "rope_type": "default"}


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("change", [change_a_weight, change_the_configuration])
def test_another_model_finds_nothing(keeper, encoded_rows, change, tmp_path):
    keeper().keep(encoded_rows, range(4), "logps", logps)
    other = keeper(change)
    other.keep(encoded_rows, range(4), "logps", logps)
    assert other.sizes and len(list(tmp_path.iterdir())) == 2


def test_other_rows_or_another_template_find_nothing(keeper, encoded_rows, fresh, sides, tmp_path):
    keeper().keep(encoded_rows, range(4), "logps", logps)
    processor = fresh()[1]
    changed = [dict(row) for row in encoded_rows.rows]
    changed[1]["answer"] += "!"
    asked_otherwise = [{**row, "question": f"{row['question']} "} for row in encoded_rows.rows]
    others = [(EncodedRows(processor, each), range(4)) for each in (changed, asked_otherwise)]
    others.append((encoded_rows, [0, 1, 2]))
    for number, (other, chosen) in enumerate(others, 2):
        made = keeper()
        made.keep(other, chosen, "logps", logps)
        assert made.sizes
        assert len(list(tmp_path.iterdir())) == number
    last = keeper()
    last.keep(encoded_rows, range(4), "other", logps)
    assert last.sizes, "another name is another thing"


def cut_short(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip_a_bit(path):
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)


def empty(path):
    path.write_bytes(b"")


def lose_rows(path):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    save_file({"values": load_file(path)["values"][1:].clone()}, path, metadata=metadata)


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("spoil", [cut_short, flip_a_bit, empty, lose_rows])
def test_a_corrupt_file_is_made_anew(keeper, encoded_rows, tmp_path, caplog, spoil):
    first = keeper().keep(encoded_rows, range(4), "logps", logps).values.clone()
    (path,) = tmp_path.iterdir()
    spoil(path)
    found = keeper().keep(encoded_rows, range(4), "logps", logps)
    assert torch.equal(found.values, first)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.message and record.message.endswith("; the reference is computed anew.")
    caplog.clear()
    assert torch.equal(keeper().keep(encoded_rows, range(4), "logps", logps).values, first)
    assert caplog.records == []


@pytest.mark.parametrize("kind", ["llama"])
def test_a_file_of_another_model_under_this_name_is_made_anew(keeper, encoded_rows, tmp_path, caplog):
    keeper(change_a_weight).keep(encoded_rows, range(4), "logps", logps)
    (other,) = tmp_path.iterdir()
    expected = keeper().keep(encoded_rows, range(4), "logps", logps).values.clone()
    (path,) = set(tmp_path.iterdir()) - {other}
    other.replace(path)
    assert torch.equal(keeper().keep(encoded_rows, range(4), "logps", logps).values, expected)
    assert "is of another model or of other rows; the reference is computed anew" in caplog.text


@pytest.mark.parametrize("kind", ["llama"])
def test_a_full_disk_is_said_and_nothing_is_left(keeper, encoded_rows, tmp_path, caplog, monkeypatch):
    def full(tensors, path, metadata):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keeping, "save_file", full)
    made = keeper()
    kept = made.keep(encoded_rows, range(4), "logps", logps)
    torch.testing.assert_close(kept[2], alone(made.model, encoded_rows[2]), atol=1e-9, rtol=0)
    assert "cannot be written" in caplog.text and "No space left" in caplog.text
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["llama"])
def test_no_rows_are_refused(keeper, encoded_rows):
    with pytest.raises(ValueError, match="there are no rows to compute a reference of"):
        keeper().keep(encoded_rows, [], "logps", logps)


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_processes_share_the_rows_and_come_to_the_same(keeper, encoded_rows, monkeypatch, ranks):
    """What each of several processes computes, one after another: the bytes of all but one are zeros."""
    whole = keeper(folder=None, batch_size=2).keep(encoded_rows, range(4), "logps", logps).values
    monkeypatch.setattr(keeping.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(keeping.dist, "get_world_size", lambda: ranks)
    monkeypatch.setattr(keeping, "_greatest", lambda values: values)
    parts = []
    for rank in range(ranks):
        monkeypatch.setattr(keeping.dist, "get_rank", lambda rank=rank: rank)
        made = keeper(folder=None, batch_size=2)
        monkeypatch.setattr(keeping, "_agreed", lambda found: found)
        parts.append(made.keep(encoded_rows, range(4), "logps", logps).values)
        assert len(made.sizes) == 1, "one of two batches, or for nothing"
    shared = torch.stack([part.view(torch.uint8) for part in parts])
    assert torch.equal(shared.amax(0).view(whole.dtype), whole)
    assert (shared != 0).any(-1).sum() <= ranks and int((shared != 0).sum(0).max()) == 1


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize(("ranks", "runs"), [(2, 2), (3, 1), (5, 1)])
def test_all_processes_run_as_often(keeper, encoded_rows, monkeypatch, ranks, runs):
    """Three batches: where each has but a share of the weights, one that did not run would leave the others waiting."""
    monkeypatch.setattr(keeping.dist, "is_initialized", lambda: True)
    monkeypatch.setattr(keeping.dist, "get_world_size", lambda: ranks)
    monkeypatch.setattr(keeping, "_greatest", lambda values: values)
    monkeypatch.setattr(keeping, "_agreed", lambda found: found)
    for rank in range(ranks):
        monkeypatch.setattr(keeping.dist, "get_rank", lambda rank=rank: rank)
        made = keeper(folder=None, batch_size=1)
        made.keep(encoded_rows, range(3), "logps", logps)
        assert len(made.sizes) == runs


@pytest.mark.parametrize("kind", ["llama"])
def test_what_another_precision_gives_is_kept_apart(keeper, encoded_rows, tmp_path):
    change = torch.nn.Module.float  # weights in float64 are not cast
    keeper(change).keep(encoded_rows, range(4), "logps", logps)
    other = keeper(change)
    other.precision = "bf16"
    kept = other.keep(encoded_rows, range(4), "logps", logps)
    assert other.sizes and len(list(tmp_path.iterdir())) == 2
    assert "forward" not in vars(other.model)
    assert 0 < float((kept[0].double() - alone(other.model.eval(), encoded_rows[0])).abs().max()) < 0.1
