"""What the model answers when it is asked: the table of generations."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel

from unlearn_metrics.evidence import GENERATIONS_SCHEMA
from unlearn_metrics.scoring._encoding import Encoder, Processor, Prompt
from unlearn_metrics.scoring._forward import to_model
from unlearn_metrics.scoring._score import Report, Row, identity


def generate(
    model: PreTrainedModel,
    processor: Processor | Encoder,
    rows: Iterable[Row],
    *,
    set_name: str,
    max_new_tokens: int = 48,
    batch_size: int = 64,
    report: Report = lambda done, total, tokens: None,
) -> pa.Table:
    """Let the model answer the questions of `rows`, greedily; rows of multiple choice are left out.

    Greedy means the most probable token each time: what the model's generation config says of sampling, beams and
    penalties does not count. An answer stops at the end token of its template or at those of the generation config.

    Args:
        model: Vision-language or language model; it is put in evaluation mode.
        processor: Its processor, tokenizer, or an `Encoder` of one, whose encoded prompts are used again.
        rows: With the columns of the rows' contract; `image` is a PIL image or None.
        set_name: Goes into the column `set`.
        max_new_tokens: Where an answer is cut that does not end by itself.
        batch_size: Prompts in a batch; a batch that memory does not suffice for is halved.
        report: Is called after every batch, see `Report`.

    Returns:
        Table of `GENERATIONS_SCHEMA`, in the order of the rows; `generated` is without surrounding whitespace.

    Raises:
        ValueError: If there are no rows, an option is not positive, or a row cannot be encoded.
    """
    _check_positive(max_new_tokens=max_new_tokens, batch_size=batch_size)
    rows = list(rows)
    if not rows:
        raise ValueError(f"set `{set_name}` has no rows, so there is nothing to generate.")
    encoder = processor if isinstance(processor, Encoder) else Encoder(processor)
    asked = [(row, _prompt(encoder, row)) for row in rows if row["task"] != "mcq"]
    model.eval()  # type: ignore[no-untyped-call]
    texts: dict[Prompt, str] = {}
    prompts = list(dict.fromkeys(prompt for _, prompt in asked))
    for batch in _batches(prompts, batch_size):
        ids = _continuations(model, encoder, batch, max_new_tokens)
        decoded = encoder.tokenizer.batch_decode(ids, skip_special_tokens=True)
        texts.update(zip(batch, (text.strip() for text in decoded), strict=True))
        report(len(texts), len(prompts), sum(map(len, ids)))
    records = [_record(row, set_name, texts[prompt]) for row, prompt in asked]
    return pa.Table.from_pylist(records, schema=GENERATIONS_SCHEMA)


@contextmanager
def _greedy(model: PreTrainedModel, end: int, max_new_tokens: int) -> Iterator[GenerationConfig]:
    """Decode greedily, up to `end` or an end token of the model's own, and by nothing else of its own.

    What a config leaves open, `model.generate` takes from the model's, so that is put aside. Penalties of repetition,
    for one, would count padding as text.
    """
    own: Any = model.generation_config
    ends = {end, *_listed(own and own.eos_token_id)}
    config = GenerationConfig(  # type: ignore[no-untyped-call]
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(ends), pad_token_id=end
    )
    model.generation_config = config
    try:
        yield config
    finally:
        model.generation_config = own


def _listed(tokens: int | list[int] | None) -> list[int]:
    return [] if tokens is None else [tokens] if isinstance(tokens, int) else tokens


def _prompt(encoder: Encoder, row: Row) -> Prompt:
    try:
        return encoder.prompt(row["question"], row["image"])
    except ValueError as error:
        raise ValueError(f"row {row['id']}: {error}") from error


def _batches(prompts: Sequence[Prompt], batch_size: int) -> Iterator[list[Prompt]]:
    """Prompts, those together whose inputs can be joined and whose lengths are near."""
    groups: dict[tuple[Any, ...], list[Prompt]] = defaultdict(list)
    for prompt in prompts:
        groups[prompt.shape, tuple(prompt.sequence_inputs), prompt.end].append(prompt)
    for group in groups.values():
        group.sort(key=lambda prompt: len(prompt.ids), reverse=True)
        for start in range(0, len(group), batch_size):
            yield group[start : start + batch_size]


@torch.inference_mode()
def _continuations(
    model: PreTrainedModel, encoder: Encoder, prompts: list[Prompt], max_new_tokens: int
) -> list[list[int]]:
    """The tokens after each prompt, up to the first end token."""
    try:
        inputs = {name: to_model(value, model) for name, value in _left_padded(prompts).items()}
        inputs |= {name: to_model(value, model) for name, value in encoder.image_inputs(prompts).items()}
        length = inputs["input_ids"].shape[1]
        generated: Any = model.generate  # a mixin that its stubs take for a tensor
        with _greedy(model, prompts[0].end, max_new_tokens) as config:
            ids = generated(**inputs, generation_config=config)
            return [_cut(row, config.eos_token_id) for row in ids[:, length:].tolist()]
    except torch.OutOfMemoryError:
        if len(prompts) == 1:
            raise
    # Outside of the handler, which would keep the failed pass's tensors alive.
    middle = len(prompts) // 2
    halves = (prompts[:middle], prompts[middle:])
    return [ids for half in halves for ids in _continuations(model, encoder, half, max_new_tokens)]


def _left_padded(prompts: Sequence[Prompt]) -> dict[str, Tensor]:
    """Token inputs [prompts, longest]; the mask comes from lengths, so a padding token may be a real one elsewhere."""
    longest = max(len(prompt.ids) for prompt in prompts)
    ids = [[prompt.end] * (longest - len(prompt.ids)) + list(prompt.ids) for prompt in prompts]
    mask = [[0] * (longest - len(prompt.ids)) + [1] * len(prompt.ids) for prompt in prompts]
    inputs = {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(mask)}
    for name in prompts[0].sequence_inputs:
        inputs[name] = torch.cat([_pad_left(prompt.sequence_inputs[name], longest) for prompt in prompts])
    return inputs


def _pad_left(value: Tensor, longest: int) -> Tensor:
    padding = value.new_zeros(1, longest - value.shape[1], *value.shape[2:])
    return torch.cat([padding, value], dim=1)


def _cut(ids: Sequence[int], ends: Sequence[int]) -> list[int]:
    stop = next((n for n, token in enumerate(ids) if token in ends), len(ids))
    return list(ids[:stop])


def _record(row: Row, set_name: str, generated: str) -> dict[str, Any]:
    copied = {name: row[name] for name in ("question", "answer", "keywords")}
    return {**identity(row, set_name), **copied, "generated": generated, "sample": 0}


def _check_positive(**options: int) -> None:
    for name, value in options.items():
        if value < 1:
            raise ValueError(f"`{name}` must be positive, got {value}.")
