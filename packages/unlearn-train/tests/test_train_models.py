import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from unlearn_train.encoding import encode
from unlearn_train.models import context_length, load_model, save_model
from unlearn_train.templates import read_template

TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }}> {{ message['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}assistant>{% endif %}"
)


def test_both_kinds_load(kind, saved):
    model, processor = load_model(saved[kind])
    assert type(model).__name__ == {"llava": "LlavaForConditionalGeneration", "llama": "LlamaForCausalLM"}[kind]
    assert (model.dtype, context_length(model)) == (torch.float32, 128)
    encode(processor, "Who?", "Ada.")


def test_the_type_of_the_weights_is_that_asked_for(kind, saved):
    assert load_model(saved[kind], dtype="bfloat16")[0].dtype == torch.bfloat16
    with pytest.raises(ValueError, match="`dtype` must be one of float32, bfloat16, float16, got 'fp32'"):
        load_model(saved[kind], dtype="fp32")


def test_attention_is_computed_as_asked(saved):
    assert load_model(saved["llama"], attention="eager")[0].config._attn_implementation == "eager"
    with pytest.raises(ValueError, match="cannot be loaded as a model .*no_such"):
        load_model(saved["llama"], attention="no_such")


def test_what_is_saved_loads_again(kind, saved, tmp_path):
    save_model(*load_model(saved[kind]), tmp_path / "again")
    first, again = (load_model(folder)[0].state_dict() for folder in (saved[kind], tmp_path / "again"))
    assert all(torch.equal(first[name], again[name]) for name in first)


def test_denormals_are_zero_once_a_model_is_loaded(saved):
    torch.set_flush_denormal(False)
    halves = torch.full((4,), torch.finfo(torch.float32).tiny)
    assert (halves / 2 != 0).all()
    load_model(saved["llama"])
    assert (halves / 2 == 0).all()


@pytest.mark.parametrize("name", ["nothing", "empty"])
def test_what_is_no_model_is_named(tmp_path, name):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=f"{tmp_path / name} cannot be loaded as a model"):
        load_model(tmp_path / name)


def test_a_pickle_is_not_read(saved, tmp_path):
    """A model whose weights are there as a pickle alone, one that would make a file if it were read."""
    spoilt = shutil.copytree(saved["llama"], tmp_path / "spoilt")
    (spoilt / "model.safetensors").unlink()
    (spoilt / "pytorch_model.bin").write_bytes(
        b"cposix\nsystem\n(S'touch " + str(tmp_path / "ran").encode() + b"'\ntR."
    )
    with pytest.raises(ValueError, match="spoilt cannot be loaded as a model .*safetensors"):
        load_model(spoilt)
    assert not (tmp_path / "ran").exists()


def test_code_that_comes_with_a_model_is_not_run(saved, tmp_path):
    spoilt = shutil.copytree(saved["llama"], tmp_path / "spoilt")
    config = json.loads((spoilt / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "mine.Mine"}}
    (spoilt / "config.json").write_text(json.dumps(config))
    (spoilt / "mine.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="spoilt cannot be loaded as a model"):
        load_model(spoilt)
    assert not (tmp_path / "ran").exists()


def test_truncated_weights_are_named(saved, tmp_path):
    spoilt = shutil.copytree(saved["llama"], tmp_path / "spoilt")
    path = spoilt / "model.safetensors"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(ValueError, match="spoilt cannot be loaded as a model"):
        load_model(spoilt)


def test_missing_weights_are_not_made_up(saved, tmp_path):
    spoilt = shutil.copytree(saved["llama"], tmp_path / "spoilt")
    weights = load_file(spoilt / "model.safetensors")
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, spoilt / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"spoilt lacks weights, model\.layers\.1\.mlp\.up_proj\.weight among them"):
        load_model(spoilt)


def test_a_chat_template_can_be_given(saved, tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(TEMPLATE)
    model, tokenizer = load_model(saved["llama"], chat_template=path)
    encoded = encode(tokenizer, "Who?", "Ada.")
    assert tokenizer.decode(encoded.input_ids) == "user> Who? assistant> Ada.</s>"
    save_model(model, tokenizer, tmp_path / "again")
    assert load_model(tmp_path / "again")[1].chat_template == TEMPLATE


def test_a_chat_template_can_be_given_to_a_model_that_sees(saved, tmp_path):
    path = tmp_path / "mine.jinja"
    path.write_text(load_model(saved["llava"])[1].chat_template.replace("USER:", "Q:"))
    model, processor = load_model(saved["llava"], chat_template=path)
    assert processor.tokenizer.decode(encode(processor, "Who?", "Ada.").input_ids) == "<s>Q: Who? ASSISTANT: Ada.</s>"
    save_model(model, processor, tmp_path / "again")
    assert load_model(tmp_path / "again")[1].chat_template == path.read_text()


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "is no file; `--chat-template` takes"), (b" \n", "is empty"), (b"\xff", "is no text in UTF-8")],
)
def test_bad_template_files_are_named(tmp_path, saved, content, message):
    path = tmp_path / "mine.jinja"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match=f"mine.jinja {message}"):
        load_model(saved["llama"], chat_template=path)


def test_a_template_s_text_is_read(tmp_path):
    (tmp_path / "a.jinja").write_text("{{ messages }}")
    assert read_template(tmp_path / "a.jinja") == "{{ messages }}"
    with pytest.raises(ValueError, match="is no file"):
        read_template(tmp_path)
