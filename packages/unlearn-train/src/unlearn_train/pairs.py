"""What an unlearning step sees: rows to forget, as many to keep, and what the method asks for about them."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice, repeat
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import Encoded


class Pair(NamedTuple):
    """One row to forget and one to keep."""

    forget: Encoded
    retain: Encoded
    others: Mapping[str, Encoded]
    """the forget row's question with other answers, by their kind"""
    ref_logps: Mapping[str, Tensor]
    """scalars: log-probability under the reference of the forget row's answer (`forget`) and of the others"""


class Pairs(Dataset[Pair]):
    """All pairs of a run, in order: every forget row once an epoch, and no retain row again before all had their turn.

    The order depends on the seed and the numbers of rows alone, so a run that is cut off can go on at any position, and
    processes that take turns see different rows.

    Args:
        forget: rows to forget.
        retain: rows to keep.
        epochs: passes over `forget`; may be a fraction.
        seed: of the order.
        others: the forget rows with other answers, by kind, such as `idk`.
        ref_logps: log-probabilities under the reference of the answers of `forget` and of kinds of `others`, each
            [forget rows].
    """

    def __init__(
        self,
        forget: EncodedRows,
        retain: EncodedRows,
        *,
        epochs: float,
        seed: int,
        others: Mapping[str, EncodedRows] | None = None,
        ref_logps: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.forget, self.retain = forget, retain
        self.others, self.ref_logps = others or {}, ref_logps or {}
        steps = max(1, round(epochs * len(forget)))
        order = torch.Generator().manual_seed(seed)
        self.order = list(islice(zip(_turns(len(forget), order), _turns(len(retain), order), strict=False), steps))

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Pair:
        forget, retain = self.order[index]
        return Pair(
            self.forget[forget],
            self.retain[retain],
            {kind: rows[forget] for kind, rows in self.others.items()},
            {kind: logps[forget] for kind, logps in self.ref_logps.items()},
        )


class PairCollator:
    """Pads the sides of the pairs, each for itself."""

    def __init__(self, collate: Collator) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Return `forget`, `retain`, a side for each kind of other answers, and `ref_logps` by side."""
        first = pairs[0]
        return {
            "forget": self.collate([pair.forget for pair in pairs]),
            "retain": self.collate([pair.retain for pair in pairs]),
            **{kind: self.collate([pair.others[kind] for pair in pairs]) for kind in first.others},
            "ref_logps": {kind: torch.stack([pair.ref_logps[kind] for pair in pairs]) for kind in first.ref_logps},
        }


def _turns(count: int, order: torch.Generator) -> Iterator[int]:
    """Every index in random order, again and again."""
    return chain.from_iterable(torch.randperm(count, generator=order).tolist() for _ in repeat(None))
