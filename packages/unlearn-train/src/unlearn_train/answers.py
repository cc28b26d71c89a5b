"""Batches whose labels begin where answers do."""

from collections.abc import Mapping

from torch import Tensor
from unlearn_core import Batch

from unlearn_train.encoding import IGNORED


def answers_alone(inputs: Mapping[str, Tensor]) -> Batch:
    """Make a batch whose labels begin just before the first answer token: nothing before it is ever predicted."""
    labels = inputs["labels"]
    first = int((labels != IGNORED).any(0).nonzero()[0])
    seen = {key: value for key, value in inputs.items() if key != "labels"}
    return Batch(inputs=seen, labels=labels[:, max(first - 1, 0) :])
