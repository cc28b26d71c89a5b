"""Whether the sides of a step run in one forward pass.

One pass pads all rows to the longest of any side, and saves what a pass costs by itself: starting its kernels, and
under ZeRO-3 gathering its weights. So it is the faster way where it adds but few tokens.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import Trainer
from unlearn_core import forward

from unlearn_train.encoding import IGNORED

SPARED, SPARED_ON_CPU = 256, 32
"""tokens that take about as long as a pass costs by itself: on a GPU estimated for a model of a billion parameters, on
a CPU measured with one of a million"""

Inputs = Mapping[str, Tensor]


def is_worth_joining(trainer: Trainer, steps: Sequence[Sequence[Inputs]]) -> bool:
    """Return whether the batches of a step run in one pass rather than each side in its own, the same in all processes.

    Never where logits are large: one pass would have them all at once, and without one they need not exist at all.

    Args:
        trainer: of the model that is trained.
        steps: the batches of this process that are summed into one step; of each, the padded inputs of its sides.
    """
    model: Any = trainer.model
    words = model.config.get_text_config().vocab_size
    places = [sum(len(side["labels"]) for side in sides) * _predicted(sides) for sides in steps]
    barred = max(places, default=0) * words >= forward.LARGE or not all(map(_fit, steps))
    added = sum(_length(sides) * len(side["labels"]) - side["labels"].numel() for sides in steps for side in sides)
    spared = sum(len(sides) - 1 for sides in steps) * (SPARED_ON_CPU if model.device.type == "cpu" else SPARED)
    counts = torch.tensor([added, spared, int(barred)], device=trainer.args.device)
    added, spared, barred = trainer.accelerator.reduce(counts, "sum").tolist()
    return not barred and added <= spared


def _length(sides: Sequence[Inputs]) -> int:
    return max(side["labels"].shape[1] for side in sides)


def _predicted(sides: Sequence[Inputs]) -> int:
    """Positions of a row that the sides' logits are computed at."""
    return _length(sides) - min(int((side["labels"] != IGNORED).any(0).nonzero()[0]) for side in sides) + 1


def _fit(sides: Sequence[Inputs]) -> bool:
    """Whether what the sides have of images is of one shape."""
    shapes: dict[str, set[tuple[int, ...]]] = {}
    for side in sides:
        for name, value in side.items():
            if value.shape != side["labels"].shape:
                shapes.setdefault(name, set()).add(tuple(value.shape[1:]))
    return all(len(found) == 1 for found in shapes.values())
