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
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward

from unlearn_metrics.scoring._batches import AnswerBatch, alike
from unlearn_metrics.scoring._cache import PromptCache
from unlearn_metrics.scoring._requests import Answer

_NAME = "unlearn_packed"


def can_be_packed(model: PreTrainedModel, batch: AnswerBatch) -> bool:
    """Return whether all layers let the last token of the longest answer see the whole prompt."""
    config = model.config.get_text_config()
    windows = [getattr(config, name, None) for name in ("sliding_window", "attention_chunk_size")]
    longest = len(batch.prompts[0].ids) + max(len(answer.ids) for answer in batch.flat())
    return all(window is None or longest <= window for window in windows)


class _Rows(NamedTuple):
    """Answers that attention is paid to together."""

    prompts: Tensor
    """[answers], the row of each one's prompt"""
    places: Tensor
    """[answers, longest], where its tokens stand in the sequence; anywhere beyond its end"""
    mask: Tensor
    """[1, 1, longest, prompt and longest], what a token sees"""


class Packing:
    """Where the tokens of answers stand in one sequence, and attention for it.

    Args:
        batch: Prompts of one length, with their answers.
        memory: What the model remembers of the prompts.
        most: How many answers attention may be paid to at once.

    Attributes:
        answers: In the order of their prompts.
        ids: The sequence: of each answer what the one before it does not share, and not its last token, which predicts
            nothing.
        positions: Of these tokens, as if each followed its prompt.
        predicted: Each token to be scored, once for all answers that share it.
        predicting: What predicts it: the end of a prompt, by its row, or a token of the sequence, counted on from the
            last row.
        numbers: For all tokens of all answers, which of `predicted` they are.
    """

    def __init__(self, batch: AnswerBatch, memory: PromptCache, most: int) -> None:
        self.answers: list[Answer] = []
        self.ids: list[int] = []
        self.positions: list[int] = []
        self.predicted: list[int] = []
        self.predicting: list[int] = []
        self.numbers: list[int] = []
        self._cache = memory.cache
        self._attended: set[int] = set()
        self._prompts, self._length = len(batch.prompts), len(batch.prompts[0].ids)
        paths: list[tuple[list[int], int]] = []
        for row, (answers, position) in enumerate(zip(batch.answers, memory.positions(self._prompts), strict=True)):
            path: list[int] = [row]
            numbers: list[int] = []
            for answer, shared in _in_common(answers):
                path = [*path[: shared + 1], *self._read(answer.ids[shared:-1], position + shared)]
                numbers = [*numbers[:shared], *self._predict(answer.ids[shared:], path[shared:])]
                self.answers.append(answer)
                self.numbers += numbers
                if len(path) > 1:
                    paths.append((path, row))
        self._rows, self._back = self._laid_out(paths, most)

    def _read(self, ids: list[int], position: int) -> range:
        start = self._prompts + len(self.ids)
        self.ids += ids
        self.positions += range(position, position + len(ids))
        return range(start, start + len(ids))

    def _predict(self, ids: list[int], predicting: list[int]) -> range:
        start = len(self.predicted)
        self.predicted += ids
        self.predicting += predicting
        return range(start, start + len(ids))

    def _laid_out(self, paths: list[tuple[list[int], int]], most: int) -> tuple[list[_Rows], Tensor]:
        """The answers in parts, and where among their tokens, padding included, those of the sequence are."""
        parts: list[_Rows] = []
        back, start = np.zeros(len(self.ids), dtype=np.int64), 0
        for part in alike(paths, lambda each: len(each[0]), most):
            longest = len(part[0][0]) - 1
            places = np.zeros((len(part), longest), dtype=np.int64)
            for n, (path, _) in enumerate(part):
                own = np.array(path[1:]) - self._prompts
                places[n, : len(own)] = own
                back[own] = start + n * longest + np.arange(len(own))
            start += places.size
            mask = torch.ones(longest, self._length + longest, dtype=torch.bool).tril(self._length)
            parts.append(_Rows(torch.tensor([row for _, row in part]), torch.from_numpy(places), mask[None, None]))
        return parts, torch.from_numpy(back)

    @contextmanager
    def attention(self, model: PreTrainedModel) -> Iterator[None]:
        """While it is open, the language model pays attention as told here.

        Raises:
            NotImplementedError: If the model has attention of its own.
        """
        config = model.config.get_text_config()
        own = config._attn_implementation
        if own != "sdpa":
            raise NotImplementedError(f"answers are packed for models with `sdpa` attention, not `{own}`.")
        config._attn_implementation = _NAME
        try:
            yield
        finally:
            config._attn_implementation = own
        if len(self._attended) != len(self._cache.layers):
            raise NotImplementedError("some layers of the model did not take this attention.")

    def attend(
        self, module: Any, query: Tensor, key: Tensor, value: Tensor, options: dict[str, Any]
    ) -> tuple[Tensor, None]:
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


def _at(states: Tensor, places: Tensor) -> Tensor:
    """States [1, heads, tokens, width] at `places` [rows, longest]: [rows, heads, longest, width]."""
    chosen = states[0].transpose(0, 1).index_select(0, places.flatten())
    return chosen.view(*places.shape, *chosen.shape[1:]).transpose(1, 2)


def _packed_attention(
    module: Module, query: Tensor, key: Tensor, value: Tensor, mask: None, *, packing: Packing, **options: Any
) -> tuple[Tensor, None]:
    return packing.attend(module, query, key, value, options)


AttentionInterface.register(_NAME, _packed_attention)


def _in_common(answers: Sequence[Answer]) -> Iterator[tuple[Answer, int]]:
    """Answers to one prompt, each with the number of tokens that it has in common with the one before it.

    In the order of their tokens no answer before the last has more in common with one.
    """
    ordered = sorted(answers, key=lambda answer: answer.ids)
    yield ordered[0], 0
    for before, answer in pairwise(ordered):
        # Of a token that another one follows.
        most = min(len(before.ids), len(answer.ids)) - 1
        yield answer, next((n for n in range(most) if before.ids[n] != answer.ids[n]), most)
