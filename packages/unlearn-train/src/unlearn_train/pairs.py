"""What an unlearning step sees: rows to forget, as many to keep, and what the method asks for about them."""

from collections.abc import Iterator, Sequence
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
    refusal: Encoded | None
    """the forget row's question with a refusal for an answer"""
    forget_ref_logps: Tensor | None
    """scalar: log-probability of the forget row's answer under the reference"""
    refusal_ref_logps: Tensor | None


class Pairs(Dataset[Pair]):
    """All pairs of a run, in order: every forget row once an epoch, and no retain row again before all had their turn.

    The order depends on the seed and the numbers of rows alone, so a run that is cut off can go on at any position, and
    processes that take turns see different rows.

    Args:
        forget: rows to forget.
        retain: rows to keep.
        epochs: passes over `forget`; may be a fraction.
        seed: of the order.
        refusals: the forget rows with refusals for answers.
        forget_ref_logps: [forget rows].
        refusal_ref_logps: [forget rows].
    """

    def __init__(
        self,
        forget: EncodedRows,
        retain: EncodedRows,
        *,
        epochs: float,
        seed: int,
        refusals: EncodedRows | None = None,
        forget_ref_logps: Tensor | None = None,
        refusal_ref_logps: Tensor | None = None,
    ) -> None:
        self.forget, self.retain, self.refusals = forget, retain, refusals
        self.forget_ref_logps, self.refusal_ref_logps = forget_ref_logps, refusal_ref_logps
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
            None if self.refusals is None else self.refusals[forget],
            None if self.forget_ref_logps is None else self.forget_ref_logps[forget],
            None if self.refusal_ref_logps is None else self.refusal_ref_logps[forget],
        )


class PairCollator:
    """Pads the two or three sides of the pairs, each for itself."""

    def __init__(self, collate: Collator) -> None:
        self.collate = collate

    def __call__(self, pairs: Sequence[Pair]) -> dict[str, Any]:
        """Return `forget`, `retain`, and what the pairs have of `refusal`, `forget_ref_logps`, `refusal_ref_logps`."""
        forget, retain, refusals, *references = zip(*pairs, strict=True)
        batch: dict[str, Any] = {"forget": self.collate(forget), "retain": self.collate(retain)}
        if refusals[0] is not None:
            batch["refusal"] = self.collate(refusals)
        for name, values in zip(("forget_ref_logps", "refusal_ref_logps"), references, strict=True):
            if values[0] is not None:
                batch[name] = torch.stack(values)
        return batch


def _turns(count: int, order: torch.Generator) -> Iterator[int]:
    """Every index in random order, again and again."""
    return chain.from_iterable(torch.randperm(count, generator=order).tolist() for _ in repeat(None))
