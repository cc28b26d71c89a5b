"""Answers to many prompts in one sequence: no padding, and what answers to a prompt begin with alike is read once.

Attention tells them apart: a token sees its prompt, whose keys and values are at hand, and its own answer so far.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import Module
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from unlearn_metrics.scoring._batches import AnswerBatch, alike
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._requests import Answer

_NAME = "unlearn_packed"


# What a model computes from places in the sequence, where a packed answer has those of others before it.
_BY_PLACE = ("attention_chunk_size", "attn_temperature_tuning", "log_scaling_n_floor")


def is_packable(model: PreTrainedModel, batch: AnswerBatch) -> bool:
    """Return whether a config says nothing against packing the answers of `batch`.

    All layers must show the last token of the longest answer its whole prompt, no answer may be so long that it changes
    the rotary frequencies of all, and nothing may depend on a token's place in the sequence.
    """
    config = model.config.get_text_config()
    # Where layers differ, the config as a whole refuses to name what they differ in.
    if getattr(config, "is_heterogeneous", False) or any(getattr(config, name, None) for name in _BY_PLACE):
        return False
    longest = len(batch.prompts[0].ids) + max(len(answer.ids) for answer in batch.flat())
    limits = (getattr(config, "sliding_window", None), *_original_contexts(config))
    return all(limit is None or longest <= limit for limit in limits)


def _original_contexts(config: PreTrainedConfig) -> list[int]:
    """Where rotary positions were stretched, the context before, for each kind of layer."""
    given: dict[str, Any] = getattr(config, "rope_parameters", None) or {}
    kinds = [each for each in given.values() if isinstance(each, dict)] or [given]
    return [each["original_max_position_embeddings"] for each in kinds if "original_max_position_embeddings" in each]


class Packing:
    """Where the tokens of answers stand in one sequence.

    Of the answers `a b c .` and `a b d .` to one prompt, the model reads `a b c d`, where `d` sees `a b` and not `c`.
    It is to predict `a b c . d .`, which are numbered from 0: the first answer has the numbers 0 1 2 3, the second
    0 1 4 5. The prompt's end predicts `a`, `a` predicts `b`, `b` predicts both `c` and `d`.

    Args:
        batch: Prompts of one length, with their answers.
        positions: Of what follows each prompt.

    Attributes:
        answers: In the order of their prompts.
        ids: The sequence: of each answer what the one before it does not share, and not its last token, which predicts
            nothing.
        positions: Of these tokens, as if each answer alone followed its prompt.
        predicted: Each token to be scored, once for all answers that share it.
        predicting: What predicts it: the end of a prompt, by its row, or a token of the sequence, counted on from the
            last row.
        numbers: For all tokens of all answers, which of `predicted` they are.
        places: Where in the sequence the tokens of an answer stand, and the row of its prompt; for answers that have
            any.
    """

    def __init__(self, batch: AnswerBatch, positions: Sequence[int]) -> None:
        self.answers: list[Answer] = []
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.predicted: list[int] = []
        self.predicting: list[int] = []
        self.numbers: list[int] = []
        self.places: list[tuple[list[int], int]] = []
        for row, (answers, position) in enumerate(zip(batch.answers, positions, strict=True)):
            places: list[int] = []
            numbers: list[int] = []
            for answer, shared in _in_common(answers):
                places = [*places[:shared], *self._read(answer.ids[shared:-1], position + shared)]
                before = row if shared == 0 else len(batch.answers) + places[shared - 1]
                predicting = [before, *(len(batch.answers) + place for place in places[shared:])]
                numbers = [*numbers[:shared], *self._predict(answer.ids[shared:], predicting)]
                self.answers.append(answer)
                self.numbers += numbers
                if places:
                    self.places.append((places, row))

    def _read(self, ids: list[int], position: int) -> range:
        start = len(self.ids)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        return range(start, start + len(ids))

    def _predict(self, ids: list[int], predicting: list[int]) -> range:
        start = len(self.predicted)
        self.predicted += ids
        self.predicting += predicting
        return range(start, start + len(ids))


class PackedAttention:
    """Attention for one pass over a packed sequence.

    Args:
        packing: Of the answers.
        memory: What the model remembers of the prompts, all of one length.
        most: How many answers it may be paid to at once.
    """

    def __init__(self, packing: Packing, memory: PromptCache, most: int) -> None:
        self._model, self._cache = memory.model, memory.cache
        if not memory.divisible():
            raise NotImplementedError("answers are packed for models that keep keys and values of every token.")
        self._attended: set[int] = set()
        self._rows: list[_Rows] = []
        prompt, device = self._cache.get_seq_length(), self._model.device
        back, start = np.zeros(len(packing.ids), dtype=np.int64), 0
        for part in alike(packing.places, lambda each: len(each[0]), most):
            longest = len(part[0][0])
            places = np.zeros((len(part), longest), dtype=np.int64)
            for n, (own, _) in enumerate(part):
                places[n, : len(own)] = own
                back[own] = start + n * longest + np.arange(len(own))
            start += places.size
            mask = torch.ones(longest, prompt + longest, dtype=torch.bool, device=device).tril(prompt)[None, None]
            rows = torch.tensor([row for _, row in part], device=device)
            self._rows.append(_Rows(rows, torch.from_numpy(places).to(device), mask))
        self._back = torch.from_numpy(back).to(device)

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """While it is open, the language model pays attention as told here; in one thread at a time.

        Raises:
            NotImplementedError: If the model has attention of its own.
        """
        config = self._model.config.get_text_config()
        own = config._attn_implementation
        if own != "sdpa":
            raise NotImplementedError(f"answers are packed for models with `sdpa` attention, not `{own}`.")
        AttentionInterface.register(_NAME, _packed_attention)
        # Of this config alone, not of others inside. As nothing makes masks for this name, models make none.
        config._attn_implementation = {"": _NAME}
        try:
            yield
        finally:
            config._attn_implementation = {"": own}
        if len(self._attended) != len(self._cache.layers):
            raise NotImplementedError("some layers of the model did not take this attention.")

    def __call__(self, module: Any, query: Tensor, key: Tensor, value: Tensor, **options: Any) -> tuple[Tensor, None]:
        """Attention of one layer, from tensors [1, heads, tokens, width] to [1, tokens, heads, width]."""
        self._attended.add(module.layer_idx)
        layer = self._cache.layers[module.layer_idx]
        found = []
        for rows in self._rows:
            prompts, places, mask = (each.to(query.device) for each in rows)
            queries, keys, values = (_at(states, places) for states in (query, key, value))
            keys = torch.cat([layer.keys[prompts], keys], dim=2)
            values = torch.cat([layer.values[prompts], values], dim=2)
            attended, _ = sdpa_attention_forward(module, queries, keys, values, mask, **options)
            found.append(attended.flatten(0, 1))
        return torch.cat(found).index_select(0, self._back.to(query.device))[None], None


class _Rows(NamedTuple):
    """Answers that attention is paid to together."""

    prompts: Tensor
    """[answers], the row of each one's prompt"""
    places: Tensor
    """[answers, longest], where its tokens stand in the sequence; anywhere beyond its end"""
    mask: Tensor
    """[1, 1, longest, prompt and longest], what a token sees"""


def _packed_attention(
    module: Module, query: Tensor, key: Tensor, value: Tensor, mask: Any, *, packed: PackedAttention, **options: Any
) -> tuple[Tensor, None]:
    if mask is not None:
        raise NotImplementedError("the model hides more than what is to come.")
    return packed(module, query, key, value, **options)


def _at(states: Tensor, places: Tensor) -> Tensor:
    """States [1, heads, tokens, width] at `places` [rows, longest]: [rows, heads, longest, width]."""
    chosen = states[0].transpose(0, 1).index_select(0, places.flatten())
    return chosen.view(*places.shape, *chosen.shape[1:]).transpose(1, 2)


def _in_common(answers: Sequence[Answer]) -> Iterator[tuple[Answer, int]]:
    """Answers to one prompt, each with the number of tokens that it has in common with the one before it.

    They are sorted by their tokens, so none of those further before has more in common with it.
    """
    ordered = sorted(answers, key=lambda answer: answer.ids)
    yield ordered[0], 0
    for last, answer in pairwise(ordered):
        # The last token of an answer is not read.
        most = min(len(last.ids), len(answer.ids)) - 1
        yield answer, next((n for n in range(most) if last.ids[n] != answer.ids[n]), most)
