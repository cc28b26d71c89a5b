import pytest
import torch
from PIL import Image
from transformers import AutoModelForCausalLM, AutoModelForImageTextToText, AutoProcessor, AutoTokenizer
from unlearn_train.encoding import encode, tokenizer_of
from unlearn_train.settings import TinySize
from unlearn_train.tiny import tiny_llama, tiny_llava, train_tokenizer

AUTO = {
    "llava": (AutoModelForImageTextToText, AutoProcessor, tiny_llava),
    "llama": (AutoModelForCausalLM, AutoTokenizer, tiny_llama),
}
IMAGE = Image.new("RGB", (48, 32), (10, 90, 200))


def logits(kind, model, processor):
    encoded = encode(processor, "Who is this?", "Zoë Åberg, born in 1987.", IMAGE if kind == "llava" else None)
    with torch.no_grad():
        return encoded, model.eval()(input_ids=encoded.input_ids[None], **encoded.image_inputs).logits


def test_a_saved_folder_is_an_ordinary_one(kind, fresh, saved):
    auto_model, auto_processor, _ = AUTO[kind]
    loaded, loading = auto_model.from_pretrained(saved[kind], output_loading_info=True)
    assert {name: list(found) for name, found in loading.items() if found} == {}
    before, wanted = logits(kind, *fresh())
    after, found = logits(kind, loaded, auto_processor.from_pretrained(saved[kind]))
    assert torch.equal(before.input_ids, after.input_ids)
    assert torch.equal(before.labels, after.labels)
    torch.testing.assert_close(found, wanted, atol=1e-6, rtol=0)


def test_an_image_changes_what_is_said(llava):
    model, processor = llava
    said = []
    for color in ((255, 0, 0), (0, 0, 255)):
        encoded = encode(processor, "Who is this?", "Ada.", Image.new("RGB", (32, 32), color))
        with torch.no_grad():
            said.append(model(input_ids=encoded.input_ids[None], **encoded.image_inputs).logits[0, -2])
    assert not torch.allclose(*said)


@pytest.mark.parametrize("vision_layers", [1, 2])
def test_the_whole_vision_tower_learns(texts, vision_layers):
    size = TinySize(
        hidden=16, layers=1, heads=2, vision_hidden=16, vision_layers=vision_layers, image_size=32, patch=16
    )
    model, processor = tiny_llava(texts, size, seed=0)
    encoded = encode(processor, "Who is this?", "Ada.", IMAGE)
    model(input_ids=encoded.input_ids[None], labels=encoded.labels[None], **encoded.image_inputs).loss.backward()
    # What turns the whole image into one vector is not read by a LLaVA, which takes the patches.
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert all("post_layernorm" in name for name in idle), idle


def test_a_seed_decides_the_weights(kind, texts, size):
    make = AUTO[kind][2]
    first, again, other = (make(texts, size, seed=seed)[0].state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_sizes_are_those_asked_for(kind, texts, size, fresh):
    model, processor = fresh()
    text = model.config.get_text_config()
    assert (text.hidden_size, text.num_hidden_layers, text.max_position_embeddings) == (16, 2, 128)
    assert len(tokenizer_of(processor)) == text.vocab_size <= 300
    if kind == "llava":
        vision = model.config.vision_config
        assert (vision.hidden_size, vision.num_hidden_layers, vision.image_size, vision.patch_size) == (16, 1, 32, 16)


@pytest.mark.parametrize("texts", [[], ["", " \n"]])
def test_no_text_is_refused(texts):
    with pytest.raises(ValueError, match="a tokenizer cannot be trained on no text; give at least one row"):
        train_tokenizer(texts)


@pytest.mark.parametrize("text", ["Zoë Åberg was born on 12 May 1987.", "日本語 🙂", "  two  spaces\n", "<b>&amp;"])
def test_any_text_survives_the_tokenizer(text):
    tokenizer = train_tokenizer(["Ada Berg is a baker."], vocabulary=300)
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text
    assert tokenizer.unk_token_id not in ids


def test_years_are_split_into_digits():
    tokenizer = train_tokenizer(["born in 1987"] * 50, vocabulary=400)
    assert [token for token in tokenizer.tokenize("1987") if token.strip("Ġ")] == ["1", "9", "8", "7"]
