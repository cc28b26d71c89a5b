"""What a model remembers of prompts, handed to any rows that continue them."""

import copy
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache, PreTrainedModel
from transformers.cache_utils import DynamicLayer


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
        return all(isinstance(layer, DynamicLayer) for layer in layers)

    def rows(self, rows: Sequence[int], *, last: bool = False) -> Any:
        """Return a cache for these rows, any of them more than once; the original is used up if it is the `last`."""
        at = torch.tensor(rows, device=self.model.device)
        chosen = self.cache if last else self._copied()
        chosen.batch_select_indices(at)
        if self._shifts is not None:
            self.model.base_model.rope_deltas = self._shifts[at]
        return chosen

    def _copied(self) -> Any:
        """A cache from which rows can be selected without a change of this one."""
        if not self.divisible() or not isinstance(self.cache, DynamicCache):
            return copy.deepcopy(self.cache)
        copied = copy.copy(self.cache)
        copied.layers = [copy.copy(layer) for layer in self.cache.layers]  # a selection makes new tensors
        return copied
