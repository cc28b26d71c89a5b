"""How a chat template, an image and an answer meet: one exchange becomes prompt tokens and answer tokens.

The convention, which a model must have been trained with for its scores to mean anything:

1. `prompt` is the chat template's rendering of the user's turn (the image first, where there is one, then the question)
   with the generation prompt. `whole` is its rendering of the user's and the assistant's turn. The answer is rendered
   without surrounding whitespace. Templates that know `enable_thinking` get it as false: an answer has no thoughts.
2. `whole` must begin with `prompt`, and only whitespace may stand between it and the answer. That whitespace belongs to
   the answer: a template that ends its generation prompt in "ASSISTANT:" and renders " Paris" has the token "▁Paris".
3. Texts are tokenized with the special tokens that the tokenizer adds by itself, unless the text begins with the token
   that begins a sequence: then nothing is added, so that it never stands there twice.
4. The prompt's tokens must begin the tokens of `whole` up to the end of the answer. What lies beyond them, followed by
   exactly one end token, are the answer tokens. The end token is the first special token that the template renders
   after the answer, or the tokenizer's end-of-sequence token where it renders none. All else is cut off.
5. A processor turns the image token of the prompt into as many tokens as the image takes; no answer token changes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

import torch
from jinja2 import TemplateError
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerBase, ProcessorMixin

Processor = PreTrainedTokenizerBase | ProcessorMixin

# Stands for the answer in a rendering, to see what the template puts around it.
_MARK = "\u2045answer\u2046"


@dataclass(frozen=True, eq=False)
class Prompt:
    """A question as the model reads it; two prompts of one `Encoder` are equal if they are the same object."""

    text: str
    """the rendered prompt, its image token not yet expanded"""
    lead: str
    """whitespace that the template puts between the prompt and an answer"""
    end: int
    """the token that ends an answer"""
    ids: tuple[int, ...]
    """the prompt's tokens, image tokens included"""
    image: Image.Image | None
    image_key: str
    """the same for images of the same pixels; empty without an image"""
    sequence_inputs: Mapping[str, Tensor]
    """further inputs with one entry a token, such as `token_type_ids`, each [1, tokens, ...]"""
    shape: tuple[Any, ...]
    """names and shapes of the image's inputs: prompts share a batch only if these are equal"""


class _Expanded(NamedTuple):
    """A prompt whose image token is expanded; how many tokens an image takes depends on its size alone."""

    ids: tuple[int, ...]
    sequence_inputs: Mapping[str, Tensor]
    shape: tuple[Any, ...]


def encode(
    processor: Processor,
    question: str,
    answer: str,
    image: Image.Image | None = None,
    *,
    template: str | None = None,
) -> tuple[list[int], list[int]]:
    """Encode one exchange.

    Args:
        processor: Processor of a vision-language model or tokenizer of a language model.
        question: The user's turn.
        answer: The assistant's turn.
        image: What the user shows, or None.
        template: See `Encoder`.

    Returns:
        The prompt's tokens and the answer tokens, end token included.

    Raises:
        ValueError: See `Encoder`.
    """
    encoder = Encoder(processor, template=template)
    prompt = encoder.prompt(question, image)
    return list(prompt.ids), encoder.answers(prompt, [answer])[0]


class Encoder:
    """Encodes prompts and answers, each distinct prompt once and each distinct image once.

    Args:
        processor: Processor of a vision-language model or tokenizer of a language model.
        template: For models without a chat template, the exchange in plain text, with `{question}` and `{answer}` once
            each, such as "Question: {question} Answer: {answer}". An image is put before it, on a line of its own.
        image_bytes: Memory for the inputs of images; beyond it, those that were used longest ago are made again.

    Raises:
        ValueError: If there is no chat template and no `template`, or `template` lacks a placeholder. Methods raise it
            where an exchange breaks the convention of this module; the message shows the texts.
    """

    def __init__(self, processor: Processor, *, template: str | None = None, image_bytes: int = 2**29) -> None:
        self.processor, self.template, self.image_bytes = processor, template, image_bytes
        self.tokenizer: Any = processor.tokenizer if isinstance(processor, ProcessorMixin) else processor
        self._prompts: dict[tuple[str, str], Prompt] = {}
        self._expanded: dict[tuple[str, tuple[int, int]], _Expanded] = {}
        self._ends: dict[str, int] = {}
        self._images: dict[str, dict[str, Tensor]] = {}
        self._image_bytes_used = 0
        self._check_template()

    def prompt(self, question: str, image: Image.Image | None = None) -> Prompt:
        """Return the prompt that asks `question` about `image`: the same object for the same question and pixels."""
        image_key = _digest(image)
        if (question, image_key) not in self._prompts:
            self._prompts[question, image_key] = self._encode_prompt(question, image, image_key)
        return self._prompts[question, image_key]

    def answers(self, prompt: Prompt, answers: Sequence[str]) -> list[list[int]]:
        """Return the answer tokens of each answer to `prompt`, end token included."""
        return next(self.answers_to([(prompt, answers)]))

    def answers_to(self, asked: Sequence[tuple[Prompt, Sequence[str]]]) -> Iterator[list[list[int]]]:
        """Yield what `answers` returns for each prompt and its answers; many are tokenized in parallel."""
        pairs = [(prompt, answer) for prompt, answers in asked if answers for answer in (None, *answers)]
        tokens = iter(self._tokenize([_exchange(*pair) for pair in pairs]) if pairs else [])
        for prompt, answers in asked:
            start, *wholes = islice(tokens, 1 + len(answers)) if answers else [[]]
            yield [self._answer(prompt, *each, start) for each in zip(answers, wholes, strict=True)]

    def _answer(self, prompt: Prompt, answer: str, whole: list[int], start: list[int]) -> list[int]:
        if not answer.strip():
            raise ValueError(f"an answer to {prompt.text!r} is empty, got {answer!r}. Give every row an answer.")
        if whole == start:
            raise ValueError(f"the answer {answer!r} becomes no token. Give the row an answer that has some.")
        if whole[: len(start)] != start:
            raise ValueError(
                f"the tokens of the prompt {prompt.text!r} do not begin those of {_exchange(prompt, answer)!r}. "
                "Use a template whose generation prompt ends where a token ends."
            )
        return [*whole[len(start) :], prompt.end]

    def unexpanded(self, prompt: Prompt) -> list[int]:
        """Return the prompt's tokens, an image being the one token that stands for it."""
        return self._tokenize([prompt.text])[0]

    def image_inputs(self, prompts: Iterable[Prompt]) -> dict[str, Tensor]:
        """Return what the vision tower takes for the images of prompts of one `shape`, joined along dimension 0."""
        inputs = [self._image_inputs(prompt, prompt.image) for prompt in prompts if prompt.image is not None]
        return {name: torch.cat([each[name] for each in inputs]) for name in inputs[0]} if inputs else {}

    def drop_image_inputs(self, prompts: Iterable[Prompt]) -> None:
        """Free what `image_inputs` has made of the images of prompts; asked for again, it is made again."""
        for prompt in prompts:
            self._image_bytes_used -= _size(self._images.pop(prompt.image_key, {}))

    def _check_template(self) -> None:
        if self.template is None and not getattr(self.processor, "chat_template", None):
            raise ValueError(
                "the model has no chat template. Put a `chat_template.jinja` into its folder, or give `template` "
                '(`--template` of the command), such as "Question: {question}\\nAnswer: {answer}".'
            )
        if self.template is not None:
            question, _, rest = self.template.partition("{question}")
            if "{answer}" in question or rest.count("{answer}") != 1 or "{question}" in rest:
                raise ValueError(
                    f"`template` must hold {{question}} and then {{answer}}, once each, got {self.template!r}."
                )

    def _encode_prompt(self, question: str, image: Image.Image | None, image_key: str) -> Prompt:
        if image is not None and not isinstance(self.processor, ProcessorMixin):
            raise ValueError(
                f"the question {question!r} comes with an image, but the model reads text alone. "
                "Use a vision-language model, or sets without images."
            )
        text, whole = self._render(question, image is not None)
        lead, mark, tail = whole.removeprefix(text).partition(_MARK)
        if not whole.startswith(text) or not mark or lead.strip():
            raise ValueError(
                f"the chat template's answer does not continue its prompt: the prompt is {text!r}, the whole "
                f"{whole!r}. Use a template whose generation prompt is what precedes an answer."
            )
        if tail not in self._ends:
            self._ends[tail] = self._end_token(tail)
        end = self._ends[tail]
        if image is None:
            return Prompt(text, lead, end, tuple(self._tokenize([text])[0]), None, "", {}, ())
        ids, sequence_inputs, shape = self._expand(text, image, image_key)
        return Prompt(text, lead, end, ids, image, image_key, sequence_inputs, shape)

    def _render(self, question: str, has_image: bool) -> tuple[str, str]:
        if self.template is not None:
            return self._render_plainly(self.template, question, has_image)
        chat = [self._turn("user", question, has_image), self._turn("assistant", _MARK, False)]
        options = {"enable_thinking": False} if "enable_thinking" in str(self.processor.chat_template) else {}
        render: Any = self.processor.apply_chat_template
        try:
            prompt = render(chat[:1], add_generation_prompt=True, tokenize=False, **options)
            return prompt, render(chat, tokenize=False, **options)
        except TemplateError as error:
            raise ValueError(f"the chat template cannot be rendered ({error}). Mend it, or give `template`.") from error

    def _render_plainly(self, template: str, question: str, has_image: bool) -> tuple[str, str]:
        before, _, rest = template.partition("{question}")
        between, _, after = rest.partition("{answer}")
        image = f"{getattr(self.processor, 'image_token', '<image>')}\n" if has_image else ""
        # A space before the answer is part of the answer's first token in most tokenizers, so it is no prompt's.
        return (image + before + question + between).rstrip(), image + before + question + between + _MARK + after

    def _turn(self, role: str, text: str, has_image: bool) -> dict[str, Any]:
        if not isinstance(self.processor, ProcessorMixin):
            return {"role": role, "content": text}
        return {"role": role, "content": [{"type": "image"}] * has_image + [{"type": "text", "text": text}]}

    def _end_token(self, tail: str) -> int:
        added = self.tokenizer.added_tokens_decoder
        special = {*self.tokenizer.all_special_ids, *(number for number, token in added.items() if token.special)}
        ids = self.tokenizer(tail, add_special_tokens=False)["input_ids"] if tail else []
        end = next((token for token in ids if token in special), self.tokenizer.eos_token_id)
        if end is None:
            raise ValueError(
                "the tokenizer has no end-of-sequence token and the template puts no special token after an answer. "
                "Set `eos_token`."
            )
        return int(end)

    def _tokenize(self, texts: list[str]) -> list[list[int]]:
        adds = [self._adds_special(text) for text in texts]
        if len(set(adds)) > 1:
            return [ids for text in texts for ids in self._tokenize([text])]
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        ids: list[list[int]] = self.tokenizer(texts, add_special_tokens=adds[0], **options)["input_ids"]
        return ids

    def _adds_special(self, text: str) -> bool:
        bos = self.tokenizer.bos_token
        return not (bos and text.startswith(bos))

    def _expand(self, text: str, image: Image.Image, image_key: str) -> _Expanded:
        key = (text, image.size)
        if key not in self._expanded:
            sequence, inputs = self._process(text, image)
            ids = tuple(sequence.pop("input_ids")[0].tolist())
            sequence.pop("attention_mask", None)
            shape = tuple(sorted((name, value.shape) for name, value in inputs.items()))
            self._expanded[key] = _Expanded(ids, sequence, shape)
            self._keep(image_key, inputs)
        return self._expanded[key]

    def _process(self, text: str, image: Image.Image) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        """The processor's outputs with one entry a token, and those about the image."""
        process: Any = self.processor
        outputs = dict(
            process(text=text, images=image, return_tensors="pt", add_special_tokens=self._adds_special(text))
        )
        length = outputs["input_ids"].shape[1]
        is_sequence = {name: value.shape[:2] == (1, length) for name, value in outputs.items()}
        return (
            {name: value for name, value in outputs.items() if is_sequence[name]},
            {name: value for name, value in outputs.items() if not is_sequence[name]},
        )

    def _image_inputs(self, prompt: Prompt, image: Image.Image) -> dict[str, Tensor]:
        if prompt.image_key in self._images:
            self._images[prompt.image_key] = self._images.pop(prompt.image_key)  # now the one that was used last
            return self._images[prompt.image_key]
        sequence, inputs = self._process(prompt.text, image)
        if tuple(sequence["input_ids"][0].tolist()) != prompt.ids:
            raise ValueError(f"the processor takes different numbers of tokens for images of {image.size} pixels.")
        self._keep(prompt.image_key, inputs)
        return inputs

    def _keep(self, image_key: str, inputs: dict[str, Tensor]) -> None:
        if image_key in self._images:
            return
        self._images[image_key] = inputs
        self._image_bytes_used += _size(inputs)
        while self._image_bytes_used > self.image_bytes and len(self._images) > 1:
            self._image_bytes_used -= _size(self._images.pop(next(iter(self._images))))


def _exchange(prompt: Prompt, answer: str | None) -> str:
    return prompt.text if answer is None else prompt.text + prompt.lead + answer.strip()


def _size(inputs: Mapping[str, Tensor]) -> int:
    return sum(value.nbytes for value in inputs.values())


def _digest(image: Image.Image | None) -> str:
    if image is None:
        return ""
    return f"{image.mode}{image.size}{hashlib.blake2b(image.tobytes()).hexdigest()}"
