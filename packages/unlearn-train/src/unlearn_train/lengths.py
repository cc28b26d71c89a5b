"""Batches of rows that are about as long: little of them is padding."""

import random
from collections.abc import Iterator, Sequence

from torch.utils.data import Sampler

SPREAD = 0.1
"""how far a length is moved at random before rows are sorted by it, so that no two epochs have the same batches"""


class LengthSampler(Sampler[int]):
    """Every row once an epoch, in batches of like length, the batches in random order.

    The order depends on the seed, the epoch and the lengths alone.

    Args:
        lengths: of the rows, in any unit.
        batch_size: rows that are used together.
        seed: of the order.
    """

    def __init__(self, lengths: Sequence[int], batch_size: int, *, seed: int) -> None:
        self.lengths, self.batch_size, self.seed = lengths, batch_size, seed
        self.epoch = 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        order = random.Random(f"{self.seed}/{self.epoch}")
        rows = order.sample(range(len(self.lengths)), len(self.lengths))
        # The rows that fill no batch come last: earlier, they would shift all that follow by their number.
        full = len(rows) - len(rows) % self.batch_size
        alike = by_length(rows[:full], self.lengths, order)
        batches = [alike[start : start + self.batch_size] for start in range(0, full, self.batch_size)]
        order.shuffle(batches)
        return iter([row for batch in [*batches, rows[full:]] for row in batch])

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is given next."""
        self.epoch = epoch


def by_length(rows: Sequence[int], lengths: Sequence[int], order: random.Random) -> list[int]:
    """Return rows from the shortest to the longest, but for some chance.

    Args:
        rows: numbers of rows.
        lengths: of all rows.
        order: of the chance.
    """
    return sorted(rows, key=lambda row: lengths[row] * (1 + SPREAD * order.random()))
