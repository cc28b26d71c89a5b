"""What an unlearning step sees: rows to forget, as many to keep, and what the method asks for about them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import Dataset

from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import Encoded
from unlearn_train.keeping import KeptRows
from unlearn_train.lengths import by_length

Order = list[tuple[int, int]]


class Pair(NamedTuple):
    """One row to forget and one to keep."""

    forget: Encoded
    retain: Encoded
    others: Mapping[str, Encoded]
    """the forget row's question with other answers, by their kind"""
    kept: Mapping[str, Mapping[str, Tensor]]
    """what the reference says of the answer tokens of each side's row: side, name, [tokens, ...]"""


class Pairs(Dataset[Pair]):
    """All pairs of a run, in order: a run that is cut off can go on at any position.

    Args:
        forget: rows to forget.
        retain: rows to keep.
        order: numbers of a row to forget and of one to keep, see `pair_order`.
        others: the forget rows with other answers, by kind, such as `idk`.
        kept: what the reference says of the rows, by side and name.
    """

    def __init__(
        self,
        forget: EncodedRows,
        retain: EncodedRows,
        order: Order,
        *,
        others: Mapping[str, EncodedRows] | None = None,
        kept: Mapping[str, Mapping[str, KeptRows]] | None = None,
    ) -> None:
        self.forget, self.retain, self.order = forget, retain, order
        self.others, self.kept = others or {}, kept or {}

    def __len__(self) -> int:
        return len(self.order)

    def __getitem__(self, index: int) -> Pair:
        forget, retain = self.order[index]
        return Pair(
            self.forget[forget],
            self.retain[retain],
            {kind: rows[forget] for kind, rows in self.others.items()},
            {
                side: {name: rows[retain if side == "retain" else forget] for name, rows in named.items()}
                for side, named in self.kept.items()
            },
        )


class PairCollator:
    """Pads the sides of the pairs, each for itself."""

    def __init__(self, collate: Collator) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Return `forget`, `retain`, a side for each kind of other answers, and `kept` by side and name."""
        first = pairs[0]
        return {
            "forget": self.collate([pair.forget for pair in pairs]),
            "retain": self.collate([pair.retain for pair in pairs]),
            **{kind: self.collate([pair.others[kind] for pair in pairs]) for kind in first.others},
            "kept": {
                side: {name: torch.cat([pair.kept[side][name] for pair in pairs]) for name in named}
                for side, named in first.kept.items()
            },
        }


def pair_order(forget: Sequence[int], retain: Sequence[int], *, pairs: int, step: int, seed: int) -> Order:
    """Pair rows to forget with rows to keep so that those of one step are about as long, and little of it is padding.

    Every forget row comes once an epoch, and no retain row again before all had their turn. The order depends on the
    arguments alone, and that of fewer pairs is the beginning of that of more.

    Args:
        forget: lengths of the rows to forget, in any unit.
        retain: lengths of the rows to keep, in any unit.
        pairs: how many to make.
        step: pairs that are used together.
        seed: of the order.

    Returns:
        Numbers of a row to forget and of one to keep.

    Example:
        >>> pair_order([9, 1, 9, 1], [1, 7, 1, 7], pairs=4, step=2, seed=0)
        [(2, 1), (0, 3), (3, 2), (1, 0)]
    """
    return list(islice(_all_pairs((forget, retain), step, random.Random(seed)), pairs))


def _all_pairs(
    sides: tuple[Sequence[int], Sequence[int]], step: int, order: random.Random
) -> Iterator[tuple[int, int]]:
    """Pairs without end. Rows are put in order within a piece in which no side begins anew."""
    waiting: list[list[int]] = [[], []]
    done = 0
    while True:
        for side, lengths in enumerate(sides):
            waiting[side] = waiting[side] or order.sample(range(len(lengths)), len(lengths))
        count = min(map(len, waiting))
        pieces = [[rows.pop() for _ in range(count)] for rows in waiting]
        first = min(-done % step, count)  # these fill up a step that has begun
        last = count - (count - first) % step  # those after it fill none
        columns = [by_length(rows[first:last], lengths, order) for rows, lengths in zip(pieces, sides, strict=True)]
        alike = list(zip(*columns, strict=True))
        steps = [alike[start : start + step] for start in range(0, len(alike), step)]
        order.shuffle(steps)
        rest = list(zip(*pieces, strict=True))
        yield from [*rest[:first], *(pair for each in steps for pair in each), *rest[last:]]
        done += count
