"""Several batches in one forward pass."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from unlearn_core.batch import Batch
from unlearn_core.forward import Forward, Steer


class JointForward(Forward):
    """Runs batches in one pass through another forward, when the first of them is asked for, and hands out their parts.

    It serves the methods that name these batches in `together`. Any other batch runs by itself.

    Args:
        forward: What the rows go through.
        batches: As long as one another: shorter rows are padded, and no label is left out that another batch has.

    Raises:
        ValueError: If there is no batch, or the lengths of inputs or labels differ.
    """

    def __init__(self, forward: Forward, batches: Sequence[Batch]) -> None:
        shapes = {(batch.inputs["input_ids"].shape[1], batch.labels.shape[1]) for batch in batches}
        if len(shapes) != 1:
            raise ValueError(
                f"batches that run together must be as long as one another, got lengths of inputs and labels {shapes}: "
                "pad them to the longest."
            )
        self._forward, self._batches = forward, list(batches)
        self._found: dict[int | None, tuple[Tensor, ...]] = {}  # by layer; logits under None

    def __call__(self, batch: Batch) -> Float[Tensor, "batch length vocab"]:
        """Returns the logits at the positions of the batch's labels."""
        return self._part(batch, None, self._forward)

    def token_logps(self, batch: Batch) -> Float[Tensor, " tokens"]:
        """Returns log p of every answer token of the batch, row after row."""
        return super().token_logps(batch) if self._has(batch) else self._forward.token_logps(batch)

    def hidden(self, batch: Batch, layer: int) -> Float[Tensor, "batch length width"]:
        """Returns the output of a decoder layer at the positions of the batch's labels."""
        return self._part(batch, layer, lambda joint: self._forward.hidden(joint, layer))

    def steered(self, steers: Mapping[int, Steer]) -> Forward:
        """Returns a forward that replaces the output of some layers; through it, every batch runs by itself."""
        return self._forward.steered(steers)

    def _has(self, batch: Batch) -> bool:
        return any(batch is each for each in self._batches)

    def _part(self, batch: Batch, layer: int | None, run: Callable[[Batch], Tensor]) -> Tensor:
        if not self._has(batch):
            return run(batch)
        if layer not in self._found:
            # one split, because a slice for each batch would cost each a gradient of the size of all
            self._found[layer] = torch.split(run(_joined(self._batches)), [len(each.labels) for each in self._batches])
        return next(part for each, part in zip(self._batches, self._found[layer], strict=True) if each is batch)


def _joined(batches: Sequence[Batch]) -> Batch:
    names = dict.fromkeys(name for batch in batches for name in batch.inputs)
    parts = {name: [part for batch in batches for part in _parts(batch, name, batches)] for name in names}
    return Batch(
        inputs={name: torch.cat(found) for name, found in parts.items()},
        labels=torch.cat([batch.labels for batch in batches]),
    )


def _parts(batch: Batch, name: str, batches: Sequence[Batch]) -> list[Tensor]:
    """A batch's input; zeros where it lacks one that has a number for every token; nothing where it lacks an image."""
    if name in batch.inputs:
        return [batch.inputs[name]]
    ids = batch.inputs["input_ids"]
    like = next(each.inputs[name] for each in batches if name in each.inputs)
    return [like.new_zeros(ids.shape)] if like.shape[1:] == ids.shape[1:] else []
