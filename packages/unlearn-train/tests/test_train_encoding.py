import copy

import pytest
import torch
from PIL import Image
from unlearn_train import encoding
from unlearn_train.encoding import IGNORED, encode, render, tokenizer_of

IMAGE = Image.new("RGB", (40, 30), (200, 30, 30))
QUESTION, ANSWER = "Who is this?", "This is Ada Berg, a baker."


def with_template(processor, template, **tokens):
    changed = copy.deepcopy(processor)
    changed.chat_template = template
    for name, value in tokens.items():
        setattr(changed, name, value)
    return changed


def answer_text(processor, encoded):
    return tokenizer_of(processor).decode(encoded.labels[encoded.labels != IGNORED])


def turns(user, assistant, *, bos="", ask="ASSISTANT:"):
    return (
        bos
        + "{% for message in messages %}{% if message['role'] == 'user' %}"
        + user
        + "{% else %}"
        + assistant
        + "{% endif %}"
        "{% endfor %}{% if add_generation_prompt %}" + ask + "{% endif %}"
    )


@pytest.mark.parametrize("image", [None, IMAGE], ids=["text", "image"])
def test_llava_answers_are_the_answer_and_one_end_token(llava, image):
    _, processor = llava
    encoded = encode(processor, QUESTION, ANSWER, image)
    answer = encoded.labels != IGNORED
    assert answer_text(processor, encoded) == f" {ANSWER}</s>"
    assert torch.equal(encoded.labels[answer], encoded.input_ids[answer])
    assert answer.int().diff().abs().sum() == 1, "the answer is one piece at the end"
    assert encoded.input_ids.tolist().count(processor.tokenizer.bos_token_id) == 1


def test_image_tokens_are_as_many_as_patches(llava):
    model, processor = llava
    image_token = model.config.image_token_index
    seen = encode(processor, QUESTION, ANSWER, IMAGE)
    assert (seen.input_ids == image_token).sum() == (32 // 16) ** 2
    assert (seen.labels == image_token).sum() == 0
    assert seen.image_inputs["pixel_values"].shape == (1, 3, 32, 32)
    unseen = encode(processor, QUESTION, ANSWER)
    assert (unseen.input_ids == image_token).sum() == 0
    assert unseen.image_inputs == {}


def test_llama_answers_are_the_answer_and_one_end_token(llama):
    _, tokenizer = llama
    encoded = encode(tokenizer, QUESTION, ANSWER)
    assert answer_text(tokenizer, encoded) == f" {ANSWER}</s>"
    assert tokenizer.decode(encoded.input_ids) == f"<s>USER: {QUESTION} ASSISTANT: {ANSWER}</s>"
    assert (encoded.labels == IGNORED).sum() == len(tokenizer(f"USER: {QUESTION} ASSISTANT:")["input_ids"]) + 1


def test_what_follows_the_end_token_is_cut(llama):
    chatml = turns(
        "<|im_start|>user\n{{ message['content'] }}<|im_end|>\n",
        "<|im_start|>assistant\n{{ message['content'] }}<|im_end|>\n",
        ask="<|im_start|>assistant\n",
    )
    tokenizer = with_template(llama[1], chatml)
    tokenizer.add_special_tokens({"extra_special_tokens": ["<|im_start|>", "<|im_end|>"]})
    assert answer_text(tokenizer, encode(tokenizer, QUESTION, ANSWER)) == f"{ANSWER}<|im_end|>"


def test_the_first_of_several_end_tokens_counts(llama):
    template = turns("<u>{{ message['content'] }}", "<a>{{ message['content'] }}<|end|>\n{{ eos_token }}", ask="<a>")
    tokenizer = with_template(llama[1], template)
    tokenizer.add_tokens(["<|end|>"], special_tokens=True)
    assert "<|end|>" not in tokenizer.all_special_tokens
    assert answer_text(tokenizer, encode(tokenizer, QUESTION, ANSWER)) == f"{ANSWER}<|end|>"


@pytest.mark.parametrize("tail", ["", "\n", " (end)"])
def test_a_template_without_end_token_gets_the_end_of_sequence(llama, tail):
    tokenizer = with_template(
        llama[1], turns("Q: {{ message['content'] }}\n", "A: {{ message['content'] }}" + tail, ask="A:")
    )
    assert answer_text(tokenizer, encode(tokenizer, QUESTION, ANSWER)) == f" {ANSWER}</s>"


def test_no_end_token_at_all_is_refused(llama):
    tokenizer = with_template(
        llama[1], turns("{{ message['content'] }}", "A:{{ message['content'] }}", ask="A:"), eos_token=None
    )
    with pytest.raises(ValueError, match="set `eos_token`"):
        encode(tokenizer, QUESTION, ANSWER)


def test_a_padding_token_that_is_the_end_token_is_learnt(llama):
    tokenizer = with_template(llama[1], llama[1].chat_template, pad_token="</s>")
    encoded = encode(tokenizer, QUESTION, ANSWER)
    assert encoded.labels[-1] == tokenizer.eos_token_id == tokenizer.pad_token_id


def test_a_tokenizer_that_begins_texts_does_not_begin_them_twice(llama):
    from tokenizers import processors

    beginning = copy.deepcopy(llama[1])
    bos = beginning.bos_token_id
    beginning.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", bos)]
    )
    assert beginning("x")["input_ids"][0] == bos
    assert encode(beginning, QUESTION, ANSWER).input_ids.tolist().count(bos) == 1
    plain = with_template(beginning, turns("{{ message['content'] }}", "A:{{ message['content'] }}", ask="A:"))
    assert encode(plain, QUESTION, ANSWER).input_ids.tolist().count(bos) == 1


def test_an_answer_that_holds_its_own_question_is_found_after_it(llama):
    tokenizer = llama[1]
    assert answer_text(tokenizer, encode(tokenizer, "Ada Berg", "Ada Berg")) == " Ada Berg</s>"


def test_thinking_is_switched_off(llama):
    thoughts = "{% if enable_thinking is not defined or enable_thinking %}<think>{% endif %}"
    tokenizer = with_template(
        llama[1], turns("{{ message['content'] }}", "A:" + thoughts + "{{ message['content'] }}", ask="A:")
    )
    prompt, whole = render(tokenizer, QUESTION, ANSWER, has_image=False)
    assert (prompt, whole) == (f"{QUESTION}A:", f"{QUESTION}A:{ANSWER}</s>")


@pytest.mark.parametrize(
    "template",
    [
        turns("{{ message['content'] }}", "B:{{ message['content'] }}", ask="A:"),
        turns("{{ message['content'] }}", "A: well, {{ message['content'] }}", ask="A:"),
        turns("{{ message['content'] }}", "A:{{ message['content'] | upper }}", ask="A:"),
    ],
    ids=["another prompt", "words before the answer", "another answer"],
)
def test_a_template_whose_answer_does_not_continue_its_prompt_is_refused(llama, template):
    tokenizer = with_template(llama[1], template)
    with pytest.raises(ValueError, match="does not continue its prompt: the prompt is 'Who is this\\?A:', the whole"):
        encode(tokenizer, QUESTION, ANSWER)


def test_tokens_of_a_prompt_that_do_not_begin_the_whole_are_refused_with_both(llama):
    merged = with_template(llama[1], turns("{{ message['content'] }}", "{{ message['content'] }}", ask=""))
    with pytest.raises(ValueError, match="the tokens of the prompt 'This i' do not begin those of 'This is"):
        encode(merged, "This i", "s Ada.")


def test_no_template_is_refused(llama):
    with pytest.raises(ValueError, match="no chat template; set one: .*`--chat-template FILE`"):
        encode(with_template(llama[1], None), QUESTION, ANSWER)


def test_a_template_that_refuses_is_named(llama):
    tokenizer = with_template(llama[1], "{{ raise_exception('only tools') }}")
    with pytest.raises(ValueError, match=r"cannot be rendered \(only tools\)"):
        encode(tokenizer, QUESTION, ANSWER)


@pytest.mark.parametrize("answer", ["", "  \n"])
def test_an_empty_answer_is_refused(llama, answer):
    with pytest.raises(ValueError, match="the answer to 'Who is this\\?' is empty"):
        encode(llama[1], QUESTION, answer)


def test_an_image_is_refused_by_a_text_model(llama):
    with pytest.raises(ValueError, match="an image .* was given to a text model"):
        encode(llama[1], QUESTION, ANSWER, IMAGE)


def test_space_around_an_answer_is_no_part_of_it(llama):
    bare, spaced = encode(llama[1], QUESTION, ANSWER), encode(llama[1], QUESTION, f"\n {ANSWER}  ")
    assert torch.equal(bare.input_ids, spaced.input_ids)
    assert torch.equal(bare.labels, spaced.labels)


def test_a_processor_that_puts_tokens_after_the_end_is_refused(llama):
    from tokenizers import processors

    ending = copy.deepcopy(llama[1])
    ending.chat_template = turns("{{ message['content'] }}", "A:{{ message['content'] }}", ask="A:")
    ending.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", special_tokens=[("</s>", ending.eos_token_id)]
    )
    with pytest.raises(ValueError, match="do not begin|after the end"):
        encode(ending, QUESTION, ANSWER)


def test_a_model_that_looks_by_cross_attention_is_refused(llava, monkeypatch):
    _, processor = llava
    monkeypatch.setattr(encoding, "tokenize", lambda *_: {"cross_attention_mask": torch.ones(1, 4, 1, 1)})
    with pytest.raises(ValueError, match="looks at images by cross-attention, as Llama 3.2 Vision does"):
        encode(processor, QUESTION, ANSWER, IMAGE)
