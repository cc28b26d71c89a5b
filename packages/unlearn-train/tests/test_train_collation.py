import pytest
import torch
from PIL import Image
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED, Encoded

IMAGE = Image.new("RGB", (32, 32), (200, 30, 30))


@pytest.fixture
def encoded(kind, fresh, sides):
    model, processor = fresh()
    return model, EncodedRows(processor, [*sides[0], *sides[1]]), Collator(processor)


def logits_of(model, batch):
    with torch.no_grad():
        return model(**{key: value for key, value in batch.items() if key != "labels"}).logits


def test_padding_and_other_rows_change_nothing(encoded):
    model, rows, collate = encoded
    together = collate([rows[n] for n in range(len(rows))])
    batched = logits_of(model, together)
    for n in range(len(rows)):
        alone = collate([rows[n]])
        length = len(rows[n].input_ids)
        torch.testing.assert_close(batched[n, :length], logits_of(model, alone)[0], atol=1e-5, rtol=0)
        assert torch.equal(together["labels"][n, :length], rows[n].labels)
        assert (together["labels"][n, length:] == IGNORED).all()


def test_the_mask_counts_lengths(encoded):
    _, rows, collate = encoded
    batch = collate([rows[n] for n in range(len(rows))])
    assert batch["attention_mask"].sum(1).tolist() == [len(rows[n].input_ids) for n in range(len(rows))]
    assert len(set(batch["attention_mask"].sum(1).tolist())) > 1, "rows of one length would show nothing"


def test_a_padding_token_that_is_the_end_token_masks_nothing_real(llama, make_row):
    import copy

    tokenizer = copy.deepcopy(llama[1])
    tokenizer.pad_token = tokenizer.eos_token
    rows = EncodedRows(tokenizer, [make_row("a/qa/1", "Who?", "Ada."), make_row("a/qa/2", "Who are you?", "Ada Berg.")])
    batch = Collator(tokenizer)([rows[0], rows[1]])
    ends = len(rows[0].input_ids) - 1
    assert batch["input_ids"][0, ends] == batch["input_ids"][0, -1] == tokenizer.eos_token_id
    assert (batch["attention_mask"][0, ends], batch["attention_mask"][0, -1]) == (1, 0)
    assert (batch["labels"][0, ends], batch["labels"][0, -1]) == (tokenizer.eos_token_id, IGNORED)


def test_no_padding_token_falls_back_on_the_end_token(llama):
    import copy

    tokenizer = copy.deepcopy(llama[1])
    tokenizer.pad_token = None
    assert Collator(tokenizer).padding == tokenizer.eos_token_id
    tokenizer.eos_token = None
    with pytest.raises(ValueError, match="neither a padding nor an end-of-sequence token"):
        Collator(tokenizer)


def test_text_and_image_rows_mix_in_any_order(llava, make_row):
    model, processor = llava
    text = make_row("a/qa/1", "Who is this?", "Ada.")
    image = make_row("a/caption/1", "Who is this?", "Ada.", image=IMAGE)
    collate, rows = Collator(processor), EncodedRows(processor, [text, image, text])
    batch = collate([rows[0], rows[1], rows[2]])
    assert batch["pixel_values"].shape[0] == 1
    assert torch.equal(logits_of(model, batch)[0], logits_of(model, batch)[2])
    other = collate([rows[1], rows[0]])
    torch.testing.assert_close(logits_of(model, batch)[1], logits_of(model, other)[0])


def test_inputs_that_only_some_rows_have_are_filled():
    ids, labels, ones = torch.tensor([5, 6]), torch.tensor([IGNORED, 6]), torch.ones(2, dtype=torch.int64)
    text = Encoded(ids, labels, {}, {})
    image = Encoded(ids, labels, {"mm_token_type_ids": ones}, {"pixel_values": torch.zeros(4, 3)})
    collate = Collator.__new__(Collator)
    collate.padding = 0
    for rows in ([text, image], [image, text]):
        batch = collate(rows)
        assert sorted(batch["mm_token_type_ids"].tolist()) == [[0, 0], [1, 1]]
        assert batch["pixel_values"].shape == (4, 3)


def test_a_row_longer_than_the_context_is_refused_by_id(llama, make_row):
    rows = EncodedRows(llama[1], [make_row("ada/qa/7", "Who?", "Ada " * 40)], max_length=20)
    with pytest.raises(ValueError, match=r"row ada/qa/7 has \d+ tokens, the model reads 20; shorten"):
        rows[0]


def test_a_row_that_cannot_be_encoded_is_refused_by_id(llama, make_row):
    with pytest.raises(ValueError, match="row ada/qa/7: the answer to 'Who\\?' is empty"):
        EncodedRows(llama[1], [make_row("ada/qa/7", "Who?", "")])[0]


def test_rows_are_kept_while_there_is_room(llama, make_row):
    row = make_row("ada/qa/1", "Who?", "Ada.")
    kept, thrown = EncodedRows(llama[1], [row]), EncodedRows(llama[1], [row], keep=0)
    assert kept[0] is kept[0]
    assert thrown[0] is not thrown[0]
    assert torch.equal(kept[0].input_ids, thrown[0].input_ids)


def pictured(*shape, **more):
    ids = torch.ones(3, dtype=torch.int64)
    return Encoded(ids, ids, {}, {"pixel_values": torch.ones(1, *shape), **more})


def test_images_of_fewer_tiles_are_filled_up(llava):
    rows = [pictured(tiles, 3, 2, 2, image_sizes=torch.tensor([[2, 2 * tiles]])) for tiles in (2, 3)]
    values = Collator(llava[1])(rows)["pixel_values"]
    assert values.shape == (2, 3, 3, 2, 2)
    assert values[0, :2].all() and values[1].all() and not values[0, 2].any()


def test_images_of_unlike_shapes_need_sizes(llava):
    with pytest.raises(
        ValueError, match=r"give `pixel_values` of unlike shapes, \(3, 2, 2\) and \(3, 4, 2\), .*set `batch_size` to 1"
    ):
        Collator(llava[1])([pictured(3, 2, 2), pictured(3, 4, 2)])
