import pytest
import torch
from unlearn_metrics import GENERATIONS_SCHEMA
from unlearn_metrics.scoring import _decoding, generate


def one_at_a_time(model, processor, row, max_new_tokens):
    is_text = not hasattr(processor, "tokenizer")
    picture = [{"type": "image", "image": row["image"]}] * (row["image"] is not None)
    user = row["question"] if is_text else [*picture, {"type": "text", "text": row["question"]}]
    inputs = processor.apply_chat_template(
        [{"role": "user", "content": user}],
        add_generation_prompt=True,
        tokenize=True,
        return_dict=True,
        return_tensors="pt",
    )
    ids = model.generate(**inputs, do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=2, pad_token_id=0)
    return processor.decode(ids[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True).strip()


@pytest.fixture
def stops_early(models):
    """Makes a model end some of its answers, by raising the logit of the end token a little."""

    def bias(name, end):
        model, processor = models[name]
        head = model.get_output_embeddings()

        def raise_end(module, inputs, logits):
            return logits.index_add(-1, torch.tensor([end]), torch.full((*logits.shape[:-1], 1), RAISED[name]))

        hooks.append(head.register_forward_hook(raise_end))
        return model, processor

    hooks = []
    yield bias
    for hook in hooks:
        hook.remove()


RAISED = {"llama": 4.0, "gpt2": 6.0, "llava": 12.0, "gemma2": 2.0, "mamba": 2.0}


@pytest.mark.parametrize("a_round", [48, 3])
@pytest.mark.parametrize("name", ["llama", "gpt2", "llava", "gemma2"])
def test_batches_generate_what_one_row_at_a_time_does(stops_early, make_rows, name, a_round, monkeypatch):
    monkeypatch.setattr(_decoding, "_ROUND", a_round)
    model, processor = stops_early(name, 2)
    rows = [row for row in make_rows(12, images=name == "llava") if row["task"] != "mcq"]
    wanted = [one_at_a_time(model, processor, row, 12) for row in rows]
    for token_budget in (1, 400, None):
        table = generate(model, processor, rows, set_name="a", max_new_tokens=12, token_budget=token_budget)
        assert table.schema == GENERATIONS_SCHEMA
        assert table["generated"].to_pylist() == wanted
    backwards = generate(model, processor, rows[::-1], set_name="a", max_new_tokens=12)
    assert backwards["generated"].to_pylist() == wanted[::-1]


@pytest.mark.parametrize("name", ["llama", "llava", "gemma2", "mamba"])
@pytest.mark.parametrize("steps", [1, 4])
def test_answers_that_are_gone_on_with_in_parts_are_the_same(stops_early, make_rows, name, steps, monkeypatch):
    """Whether the model takes keys and values back, or reads anew."""
    monkeypatch.setattr(_decoding, "_STEPS", steps)
    model, processor = stops_early(name, 2)
    rows = [row for row in make_rows(9, images=name == "llava") if row["task"] != "mcq"]
    wanted = [one_at_a_time(model, processor, row, 11) for row in rows]
    assert generate(model, processor, rows, set_name="a", max_new_tokens=11)["generated"].to_pylist() == wanted


def test_long_answers_go_on_together(stops_early, make_rows, monkeypatch):
    monkeypatch.setattr(_decoding, "_ROUND", 3)
    model, processor = stops_early("llama", 2)
    batches = []
    decode = _decoding.Decoder.__call__

    def note(self, batch):
        replies = decode(self, batch)
        batches.append((batch.until, len(replies), sum(has_ended for _, has_ended in replies)))
        return replies

    monkeypatch.setattr(_decoding.Decoder, "__call__", note)
    generate(model, processor, [row for row in make_rows(12) if row["task"] != "mcq"], set_name="a", max_new_tokens=12)
    (first, all_rows, early), (second, fewer, _), *_, (last, left, ended) = batches
    assert (first, second, last) == (3, 6, 12)
    assert fewer == all_rows - early < all_rows
    assert left == ended


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_some_answers_end_by_themselves(stops_early, make_rows, name):
    model, processor = stops_early(name, 2)
    table = generate(model, processor, make_rows(12), set_name="a", max_new_tokens=12)
    lengths = {len(processor(text)["input_ids"]) for text in table["generated"].to_pylist()}
    assert min(lengths) < 12, "the test of stopping tests nothing"


def test_columns_come_from_the_rows(models, make_rows):
    model, processor = models["llava"]
    rows = make_rows(6, images=True)
    rows[3] = {**make_rows(4)[3], "task": "mcq"}
    got = generate(model, processor, rows, set_name="forget10", max_new_tokens=3).to_pylist()
    asked = [row for row in rows if row["task"] != "mcq"]
    assert len(got) == len(asked) == 5
    for one, row in zip(got, asked, strict=True):
        for name in ("id", "subject", "task", "question", "answer", "keywords"):
            assert one[name] == row[name]
        assert (one["set"], one["sample"]) == ("forget10", 0)
        assert one["modality"] == ("text" if row["image"] is None else "image")


def test_choices_alone_generate_nothing(models, make_rows):
    model, processor = models["llama"]
    table = generate(model, processor, [make_rows(2)[1]], set_name="a")
    assert table.num_rows == 0
    assert table.schema == GENERATIONS_SCHEMA


def test_the_models_own_decoding_does_not_count(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows = make_rows(4)
    wanted = generate(model, processor, rows, set_name="a", max_new_tokens=8)
    own = {"do_sample": True, "temperature": 5.0, "top_k": 3, "repetition_penalty": 9.0, "no_repeat_ngram_size": 1}
    own |= {"bad_words_ids": [[n] for n in range(200)], "min_new_tokens": 8, "num_beams": 3, "suppress_tokens": [7]}
    for name, value in own.items():
        monkeypatch.setattr(model.generation_config, name, value)
    assert generate(model, processor, rows, set_name="a", max_new_tokens=8) == wanted


def test_the_models_own_end_tokens_count(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows = make_rows(3)
    inputs = processor(f"<s>USER: {rows[0]['question']} ASSISTANT:", add_special_tokens=False, return_tensors="pt")
    token = int(model(input_ids=inputs["input_ids"]).logits[0, -1].argmax())
    monkeypatch.setattr(model.generation_config, "eos_token_id", [2, token])
    assert generate(model, processor, rows[:1], set_name="a", max_new_tokens=8)["generated"].to_pylist() == [""]


def test_out_of_memory_halves_the_batch(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows = make_rows(9)
    wanted = generate(model, processor, rows, set_name="a", max_new_tokens=4)
    plain, sizes = model.generate, []

    def small(*, input_ids, **kwargs):
        sizes.append(len(input_ids))
        if len(input_ids) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return plain(input_ids=input_ids, **kwargs)

    monkeypatch.setattr(model, "generate", small)
    assert generate(model, processor, rows, set_name="a", max_new_tokens=4) == wanted
    # Each part that fits is gone on with after its first token.
    assert sizes == [8, *[4, 2, 2, 2, 2] * 2]


def test_bad_input(models, make_rows):
    model, processor = models["llama"]
    with pytest.raises(ValueError, match="set `a` has no rows"):
        generate(model, processor, [], set_name="a")
    with pytest.raises(ValueError, match="`max_new_tokens` must be positive, got 0"):
        generate(model, processor, make_rows(1), set_name="a", max_new_tokens=0)
    with pytest.raises(ValueError, match="`token_budget` must be positive, got -1"):
        generate(model, processor, make_rows(1), set_name="a", token_budget=-1)


def test_a_model_of_images_answers_in_one_go(stops_early, make_rows, monkeypatch):
    monkeypatch.setattr(_decoding, "_ROUND", 1)
    model, processor = stops_early("llava", 2)
    seen = []
    decode = _decoding.Decoder.__call__
    monkeypatch.setattr(
        _decoding.Decoder, "__call__", lambda self, batch: (seen.append(batch.until), decode(self, batch))[1]
    )
    generate(model, processor, make_rows(4, images=True), set_name="a", max_new_tokens=8)
    assert set(seen) == {8}
