"""How fast a training goes, and how much memory it takes: what the log shows beside the loss."""

import time
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unlearn_train import launching
from unlearn_train.stages import peak_memory


class Pace:
    """Counts the tokens that the model reads, those of padding apart, from one entry of the log to the next."""

    def __init__(self) -> None:
        self.tokens, self.since = 0, time.perf_counter()

    def count(self, batches: Sequence[Mapping[str, Any]]) -> None:
        """Take note of batches, or of batches that have one for each side."""
        self.tokens += sum(_tokens(batch) for batch in batches)

    def beside(self, logs: Mapping[str, float]) -> dict[str, float]:
        """Return the pace since the last entry with a loss, beside one; several processes read as much as this one."""
        if "loss" not in logs:
            return {}
        now = time.perf_counter()
        rate = self.tokens * launching.processes() / max(now - self.since, 1e-9)
        self.tokens, self.since = 0, now
        return {"tokens_per_second": round(rate, 1), "peak_memory_gib": round(peak_memory() / 2**30, 3)}


def _tokens(batch: Mapping[str, Any]) -> int:
    mask = batch.get("attention_mask")
    if isinstance(mask, Tensor):
        return int(torch.count_nonzero(mask))
    return sum(_tokens(side) for side in batch.values() if isinstance(side, Mapping))
