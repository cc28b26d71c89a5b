"""What a model remembers of prompts, handed to any rows that continue them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer, LinearAttentionCacheLayerMixin


class PromptCache:
    """The cache of keys and values after a pass over some rows, and all that a model keeps beside it.

    Args:
        model: Whose pass it was; it must not have made another one since.
        cache: What it returned.
    """

    def __init__(self, model: PreTrainedModel, cache: Any) -> None:
        self.model, self.cache = model, cache
        # Some models keep how far images have shifted each row's positions.
        self._shifts: Tensor | None = getattr(model.base_model, "rope_deltas", None)

    def divisible(self) -> bool:
        """Whether rows can be taken out."""
        layers = self.cache.layers if isinstance(self.cache, DynamicCache) else [None]
        # What a layer of linear attention keeps is not per token, and stays with all rows.
        return all(
            isinstance(layer, DynamicLayer) and not isinstance(layer, LinearAttentionCacheLayerMixin)
            for layer in layers
        )

    def positions(self, rows: int) -> list[int]:
        """Return the position of what follows each of the `rows`."""
        shifts = [0] * rows if self._shifts is None else self._shifts.flatten().tolist()
        return [self.cache.get_seq_length() + shift for shift in shifts]

    def rows(self, rows: Sequence[int], *, room: int, last: bool = False) -> Any:
        """Return a cache for some rows.

        Args:
            rows: Which, any of them more than once.
            room: How many more tokens it will take without a copy of all that it holds.
            last: Whether the original may be used up.
        """
        at = torch.tensor(rows, device=self.model.device)
        if self._shifts is not None:
            self.model.base_model.rope_deltas = self._shifts[at]
        chosen = self.cache if last else self._copied()
        if not self.divisible():
            chosen.batch_select_indices(at)
            return chosen
        for n, layer in enumerate(chosen.layers):
            chosen.layers[n] = _rows_of(layer, at, room)
        return chosen

    def _copied(self) -> Any:
        """A cache from which rows can be selected without a change of this one."""
        if not self.divisible():
            return copy.deepcopy(self.cache)
        copied = copy.copy(self.cache)
        copied.layers = list(self.cache.layers)
        return copied


class _RoomyLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values with room behind them, so that a token more does not copy all that there is.

    Args:
        keys: [rows, heads, tokens, width]; so are `values`.
        values: What goes with them.
        rows: Which of them to hold.
        room: How many more tokens it will take without a copy.
    """

    keys: Any  # a tensor from the start, as in no other layer
    values: Any

    def __init__(self, keys: Tensor, values: Tensor, rows: Tensor, room: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.lazy_initialization(keys, values)
        self._held: tuple[Tensor, ...] = tuple(_with_room(each, rows, room) for each in (keys, values))
        self._show(keys.shape[-2])

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append a pass's keys and values."""
        start = self.get_seq_length()
        end = start + key_states.shape[-2]
        if not self._held or self.keys.data_ptr() != self._held[0].data_ptr() or end > self._held[0].shape[-2]:
            self._held = ()
            return super().update(key_states, value_states, *args, **kwargs)
        for held, fresh in zip(self._held, (key_states, value_states), strict=True):
            held[..., start:end, :] = fresh
        self._show(end)
        return self.keys, self.values

    def _show(self, tokens: int) -> None:
        self.keys, self.values = (held[..., :tokens, :] for held in self._held)


def _rows_of(layer: DynamicLayer, rows: Tensor, room: int) -> DynamicLayer:
    # Others do not keep all tokens.
    if type(layer) in (DynamicLayer, _RoomyLayer) and layer.keys is not None and layer.values is not None:
        return _RoomyLayer(layer.keys, layer.values, rows, room)
    chosen = copy.copy(layer)
    chosen.batch_select_indices(rows)  # makes new tensors
    return chosen


def _with_room(states: Tensor, rows: Tensor, room: int) -> Tensor:
    *others, tokens, width = states.shape[1:]
    held = states.new_empty(len(rows), *others, tokens + room, width)
    torch.index_select(states, 0, rows, out=held[..., :tokens, :])
    return held
