"""Batches whose labels begin where answers do."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from unlearn_core import Batch

from unlearn_train.encoding import IGNORED


def answers_alone(inputs: Mapping[str, Tensor]) -> Batch:
    """Make a batch whose labels begin just before the first answer token: nothing before it is ever predicted."""
    return answers_together([inputs])[0]


def answers_together(inputs: Sequence[Mapping[str, Tensor]]) -> list[Batch]:
    """Make batches that are as long as the longest, and whose labels begin just before the first answer token of any.

    Args:
        inputs: padded batches with `input_ids` and `labels`.
    """
    length, first = max(map(_length, inputs)), min(map(_first, inputs))
    batches = []
    for given in inputs:
        longer = {name: _lengthened(name, value, given, length) for name, value in given.items()}
        labels = longer.pop("labels")
        batches.append(Batch(inputs=longer, labels=labels[:, first:]))
    return batches


def _length(inputs: Mapping[str, Tensor]) -> int:
    return inputs["labels"].shape[1]


def _first(inputs: Mapping[str, Tensor]) -> int:
    """The position that the first answer token of any row is predicted from."""
    return max(int((inputs["labels"] != IGNORED).any(0).nonzero()[0]) - 1, 0)


def _lengthened(name: str, value: Tensor, inputs: Mapping[str, Tensor], length: int) -> Tensor:
    """Pads what has one number for every token; a row's last token is repeated, which is never that of an image."""
    missing = length - _length(inputs)
    if not missing or value.shape != inputs["labels"].shape:
        return value
    if name == "input_ids":
        filling = value[:, -1:].expand(-1, missing)
    else:
        filling = value.new_full((len(value), missing), IGNORED if name == "labels" else 0)
    return torch.cat([value, filling], dim=1)
