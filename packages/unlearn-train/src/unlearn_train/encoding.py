"""How a chat template, an image and an answer meet: one row becomes token ids and labels.

The answer tokens are those of the answer followed by exactly one end token: the first special token that the chat
template puts after an assistant's turn, or the tokenizer's end-of-sequence token where the template puts none. What is
before them (prompt and image positions) is labelled -100, whatever else the template puts after them is left out.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

IGNORED = -100
Processor = PreTrainedTokenizerBase | ProcessorMixin


class Encoded(NamedTuple):
    """One row, not padded."""

    input_ids: Tensor
    """[length], int64"""
    labels: Tensor
    """[length], int64, aligned with `input_ids`; -100 before the answer"""
    sequence_inputs: Mapping[str, Tensor]
    """further inputs with one number a token, such as `token_type_ids`, each [length]"""
    image_inputs: Mapping[str, Tensor]
    """what the vision tower takes, such as `pixel_values`, each [1 or more, ...]; empty without an image"""


def tokenizer_of(processor: Processor) -> PreTrainedTokenizerBase:
    """Return the tokenizer that `processor` is or holds."""
    return processor.tokenizer if isinstance(processor, ProcessorMixin) else processor


def render(processor: Processor, question: str, answer: str, *, has_image: bool) -> tuple[str, str]:
    """Render one exchange with the chat template.

    Args:
        processor: a processor, or a tokenizer for a text model.
        question: the user's turn.
        answer: the assistant's turn.
        has_image: whether the user's turn shows an image before the question.

    Returns:
        The prompt, and the prompt continued by the answer and one end token.

    Raises:
        ValueError: there is no chat template, or its answer does not continue its prompt.
    """
    tokenizer = tokenizer_of(processor)
    if not (getattr(processor, "chat_template", None) or tokenizer.chat_template):
        raise ValueError(
            "the processor has no chat template; set one: put `chat_template.jinja` into the model's folder, or give "
            "`--chat-template FILE`."
        )
    chat = [_turn(processor, "user", question, has_image), _turn(processor, "assistant", answer, False)]
    prompt = _apply_template(processor, chat[:1], add_generation_prompt=True)
    whole = _apply_template(processor, chat)
    start = whole.find(answer, len(prompt))
    if not whole.startswith(prompt) or start < 0 or whole[len(prompt) : start].strip():
        raise ValueError(
            f"the chat template's answer does not continue its prompt: the prompt is {prompt!r}, the whole {whole!r}; "
            "use a template whose generation prompt is what precedes an assistant's turn (`--chat-template FILE`)."
        )
    end = start + len(answer)
    return prompt, whole[:end] + _end_token(tokenizer, whole[end:])


def encode(processor: Processor, question: str, answer: str, image: Image.Image | None = None) -> Encoded:
    """Encode one exchange: answer tokens are labelled with themselves, all others with -100.

    Args:
        processor: a processor, or a tokenizer for a text model.
        question: the user's turn.
        answer: the assistant's turn.
        image: what the user shows, or None.

    Raises:
        ValueError: the answer is empty, an image is given to a text model, or the tokens of the prompt do not begin
            those of the whole.
    """
    if not answer.strip():
        raise ValueError(f"the answer to {question!r} is empty; every row needs an answer.")
    if image is not None and not isinstance(processor, ProcessorMixin):
        raise ValueError(
            f"a row with an image (question {question!r}) was given to a text model; select text rows, or use a "
            "vision-language model."
        )
    prompt, whole = render(processor, question, answer.strip(), has_image=image is not None)
    answer_ids = _answer_ids(tokenizer_of(processor), prompt, whole)
    inputs = tokenize(processor, whole, image)
    if "cross_attention_mask" in inputs:
        raise ValueError(
            f"{type(processor).__name__} is of a model that looks at images by cross-attention, as Llama 3.2 Vision "
            "does; use one that has them among its tokens."
        )
    ids = inputs.pop("input_ids")[0]
    inputs.pop("attention_mask", None)
    if ids[-len(answer_ids) :].tolist() != answer_ids:
        raise ValueError(f"{type(processor).__name__} puts tokens after the end of {whole!r}; use one that does not.")
    labels = torch.full_like(ids, IGNORED)
    labels[-len(answer_ids) :] = ids[-len(answer_ids) :]
    is_sequence = {key: value.shape == (1, len(ids)) for key, value in inputs.items()}
    return Encoded(
        ids,
        labels,
        {key: value[0] for key, value in inputs.items() if is_sequence[key]},
        {key: value for key, value in inputs.items() if not is_sequence[key]},
    )


def _answer_ids(tokenizer: PreTrainedTokenizerBase, prompt: str, whole: str) -> list[int]:
    """The tokens of the answer and its end. The image is left out: it is expanded within the prompt alone."""
    prompt_ids, ids = (tokenizer(text, **_special(tokenizer, text))["input_ids"] for text in (prompt, whole))
    if len(prompt_ids) >= len(ids) or ids[: len(prompt_ids)] != prompt_ids:
        raise ValueError(
            f"the tokens of the prompt {prompt!r} do not begin those of {whole!r}; end the template's generation "
            "prompt at a token's border."
        )
    return list(ids[len(prompt_ids) :])


def _turn(processor: Processor, role: str, text: str, has_image: bool) -> dict[str, Any]:
    if not isinstance(processor, ProcessorMixin):
        return {"role": role, "content": text}
    return {"role": role, "content": [{"type": "image"}] * has_image + [{"type": "text", "text": text}]}


def _apply_template(processor: Processor, chat: list[dict[str, Any]], **options: Any) -> str:
    # A model that can think aloud is asked not to: its thoughts are no part of an answer.
    if "enable_thinking" in str(processor.chat_template):
        options["enable_thinking"] = False
    try:
        return str(processor.apply_chat_template(chat, tokenize=False, **options))
    except TemplateError as error:
        raise ValueError(
            f"the chat template cannot be rendered ({error}); give another by `--chat-template FILE`."
        ) from error


def _end_token(tokenizer: PreTrainedTokenizerBase, tail: str) -> str:
    """The first special token after the answer; end of sequence where there is none."""
    added = (token.content for token in tokenizer.added_tokens_decoder.values() if token.special)
    found = [
        (tail.find(token), -len(token), token) for token in {*tokenizer.all_special_tokens, *added} if token in tail
    ]
    if found:
        return min(found)[-1]
    if tokenizer.eos_token is None:
        raise ValueError(
            "the tokenizer has no end-of-sequence token and the chat template puts none after an answer; set "
            "`eos_token`."
        )
    return str(tokenizer.eos_token)


def tokenize(processor: Processor, text: str, image: Image.Image | None) -> dict[str, Tensor]:
    """Turn a rendered text and its image into a model's inputs, one row."""
    options: dict[str, Any] = {"return_tensors": "pt", **_special(tokenizer_of(processor), text)}
    if isinstance(processor, ProcessorMixin):
        options |= {"text": text} if image is None else {"text": text, "images": image}
        return dict(processor(**options))
    return dict(processor(text, **options))


def _special(tokenizer: PreTrainedTokenizerBase, text: str) -> dict[str, bool]:
    """Where the template has put the first token, the tokenizer must not put it a second time."""
    return {"add_special_tokens": not (tokenizer.bos_token and text.startswith(tokenizer.bos_token))}
