import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from unlearn_metrics.scoring import Encoder, _requests, encode
from unlearn_metrics.scoring._requests import requests

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] | trim }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
NO_END = (
    "{% for m in messages %}{{ m['role'] | upper }}: {{ m['content'] }} {% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT:{% endif %}"
)


def test_prompt_and_answer_of_a_chat_template(make_tokenizer):
    tokenizer = make_tokenizer()
    prompt, answer = encode(tokenizer, "Where?", "In Lagos.")
    assert (
        prompt + answer == tokenizer("<s>USER: Where? ASSISTANT: In Lagos.</s>", add_special_tokens=False)["input_ids"]
    )
    assert tokenizer.decode(prompt) == "<s>USER: Where? ASSISTANT:"
    assert answer[-1] == tokenizer.eos_token_id


def test_end_token_is_that_of_the_template_and_what_follows_is_cut(make_tokenizer):
    tokenizer = make_tokenizer(CHATML)
    prompt, answer = encode(tokenizer, "Where?", "Oslo")
    assert tokenizer.decode(prompt).endswith("<|im_start|>assistant\n")
    assert tokenizer.decode(answer) == "Oslo<|im_end|>"


def test_end_of_sequence_stands_in_where_the_template_has_no_end_token(make_tokenizer):
    tokenizer = make_tokenizer(NO_END)
    prompt, answer = encode(tokenizer, "Where?", "Oslo")
    assert tokenizer.decode(prompt) == "USER: Where? ASSISTANT:"
    assert tokenizer.decode(answer) == " Oslo</s>"


def test_begin_of_sequence_stands_once(make_tokenizer):
    rendered = make_tokenizer(adds="<s> $A")
    unrendered = make_tokenizer(NO_END, adds="<s> $A")
    for tokenizer in (rendered, unrendered):
        prompt, answer = encode(tokenizer, "Where?", "Oslo")
        assert (prompt + answer).count(tokenizer.bos_token_id) == 1
        assert prompt[0] == tokenizer.bos_token_id


def test_surrounding_whitespace_of_an_answer_is_dropped(make_tokenizer):
    for tokenizer in (make_tokenizer(), make_tokenizer(CHATML)):
        assert encode(tokenizer, "Where?", " Oslo\n") == encode(tokenizer, "Where?", "Oslo")


def test_thinking_is_turned_off(make_tokenizer):
    thoughts = "{% if enable_thinking is not defined %}<think>{% endif %}"
    template = CHATML.replace("assistant\n", "assistant\n" + thoughts)
    assert encode(make_tokenizer(template), "Where?", "Oslo") == encode(make_tokenizer(CHATML), "Where?", "Oslo")


@pytest.mark.parametrize("answer", ["Oslo.", "In Paris, long ago", "é", "{}"])
def test_image_token_is_expanded_as_the_processor_expands_it(models, answer):
    _, processor = models["llava"]
    image = Image.fromarray(np.full((20, 24, 3), 7, np.uint8))
    prompt, ids = encode(processor, "Who?", answer, image)
    text = f"<s>USER: <image>\nWho? ASSISTANT: {answer}</s>"
    whole = processor(text=text, images=image, add_special_tokens=False)["input_ids"][0]
    assert prompt + ids == list(whole)
    assert prompt.count(processor.image_token_id) == 16


def test_plain_template(make_tokenizer, models):
    tokenizer = make_tokenizer(template=None)
    prompt, answer = encode(tokenizer, "Where {answer}?", "Oslo", template="Q: {question}\nA: {answer}\n\n")
    assert tokenizer.decode(prompt) == "Q: Where {answer}?\nA:"
    assert tokenizer.decode(answer) == " Oslo</s>"
    _, processor = models["llava"]
    prompt, _ = encode(processor, "Who?", "Oslo", Image.new("RGB", (8, 8)), template="Q: {question}\nA: {answer}")
    assert processor.decode(prompt) == "<image>" * 16 + "\nQ: Who?\nA:"


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(answer=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="<>"), min_size=1))
def test_answer_tokens_spell_the_answer(models, answer):
    _, tokenizer = models["llama"]
    if answer.strip():
        _, ids = encode(tokenizer, "Where?", answer)
        assert tokenizer.decode(ids[:-1]).strip() == answer.strip()


@pytest.mark.parametrize("together", [1, 3, 256])
def test_rows_that_are_encoded_together_are_encoded_as_one_by_one(make_tokenizer, make_rows, monkeypatch, together):
    """Whatever they share: a question, its answers, both."""
    monkeypatch.setattr(_requests, "_TOGETHER", together)
    rows = make_rows(9)
    again = [
        {**row, "id": f"{row['id']}-b", "answer": f"Surely {row['answer']}"} for row in rows if row["task"] != "mcq"
    ]
    encoder = Encoder(make_tokenizer())
    asked = requests({"a": rows, "b": [*again, *rows]}, encoder, context=None)
    assert [answer.number for answer in asked.answers] == list(range(len(asked.answers)))
    assert len({(answer.prompt, tuple(answer.ids)) for answer in asked.answers}) == len(asked.answers)
    for entry, number in asked.scored:
        answer = asked.answers[number]
        text = entry.more["text"]
        assert [list(answer.prompt.ids), answer.ids] == list(encode(encoder.tokenizer, entry.row["question"], text))
    with pytest.raises(ValueError, match="set `b`: row last: an answer to .* is empty"):
        requests({"a": rows, "b": [*again, {**again[0], "id": "last", "answer": " "}]}, encoder, context=None)
    with pytest.raises(ValueError, match=f"set `b`: row {again[1]['id']}: an answer is no text, got 7"):
        requests({"b": [again[0], {**again[1], "perturbed_answers": [7]}, *rows]}, encoder, context=None)
    unread = [{**rows[0], "answer": None}]
    assert requests({"a": unread}, encoder, context=None, scored=False).answers == []


def test_prompts_that_begin_a_sequence_and_others_are_encoded_alike(make_tokenizer):
    """A chat template may begin with the token that begins a sequence for some questions alone."""
    template = NO_END.replace("{% for", "{{ bos_token if 'who' in messages[0]['content'] else '' }}{% for", 1)
    encoder = Encoder(make_tokenizer(template=template, adds="<s> $A"))
    asked = [(encoder.prompt(question), ["Ada.", "In Oslo."]) for question in ("Says who?", "Where?", "And who?")]
    assert list(encoder.answers_to(asked)) == [encoder.answers(*each) for each in asked]
    assert [prompt.ids.count(1) for prompt, _ in asked] == [1, 1, 1]


def test_bad_exchanges(make_tokenizer):
    tokenizer = make_tokenizer()
    with pytest.raises(ValueError, match="is empty"):
        encode(tokenizer, "Where?", "  ")
    with pytest.raises(ValueError, match="reads text alone"):
        encode(tokenizer, "Where?", "Oslo", Image.new("RGB", (8, 8)))
    with pytest.raises(ValueError, match=r"no chat template.*`template`"):
        encode(make_tokenizer(template=None), "Where?", "Oslo")
    for template in ("Q: {question}", "{answer} {question}", "{question} {question} {answer}", ""):
        with pytest.raises(ValueError, match="`template` must hold"):
            encode(tokenizer, "Where?", "Oslo", template=template)


def test_bad_templates(make_tokenizer):
    # The space is a token of the prompt, but part of the answer's first token in the whole.
    merging = NO_END.replace("ASSISTANT:", "ASSISTANT: ")
    with pytest.raises(ValueError, match=r"'USER: Where\? ASSISTANT: ' do not begin those of .*Oslo"):
        encode(make_tokenizer(merging), "Where?", "Oslo")
    with pytest.raises(ValueError, match=r"does not continue its prompt.*'USER: Where"):
        encode(make_tokenizer(NO_END.replace("ASSISTANT:", "BOT:")), "Where?", "Oslo")
    with pytest.raises(ValueError, match="cannot be rendered"):
        encode(make_tokenizer("{{ raise_exception('no') }}"), "Where?", "Oslo")
    with pytest.raises(ValueError, match="no end-of-sequence token"):
        encode(make_tokenizer(NO_END, eos_token=None), "Where?", "Oslo")


def test_distinct_images_are_processed_once_while_memory_allows(models, monkeypatch):
    _, processor = models["llava"]
    calls = []
    process = type(processor.image_processor).preprocess
    monkeypatch.setattr(
        type(processor.image_processor), "preprocess", lambda *args, **kw: calls.append(1) or process(*args, **kw)
    )
    images = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 90, 180)]

    def inputs(image_bytes):
        encoder = Encoder(processor, image_bytes=image_bytes)
        prompts = [encoder.prompt("Who?", image) for image in [*images, images[0].copy()]]
        assert prompts[0] is prompts[3]
        values = [encoder.image_inputs(prompts)["pixel_values"] for _ in range(2)]
        return len(calls), values

    count, roomy = inputs(2**20)
    assert count == 3
    count, tight = inputs(1)
    assert count > 6
    assert all((a == b).all() for a, b in zip(roomy, tight, strict=True))
    assert roomy[0].shape == (4, 3, 16, 16)
