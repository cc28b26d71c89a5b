"""What a method's reference says: computed once, before the first step, or by a model at every step.

The reference is the model as it is before it is unlearned. Most of what methods ask it is about rows that are known
from the start. So its answers to these are kept: of a log-probability one number a row, of logits the states that enter
the output embedding, of a layer its output, both where answer tokens are predicted. That takes rows · answer tokens ·
width numbers, in the main memory or, where there is a folder for them, on disk. In the type that the model computes
them in, 2,000 rows of 50 answer tokens with a width of 4,096 are 0.8 GB from weights in bfloat16 and up to 1.6 GB from
weights in float32, with autocast or without; a second model of 7 billion weights is 14 GB, or 28 GB.
"""

import copy
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import Linear
from transformers import PreTrainedModel
from unlearn_core import Asked, Batch, Method, ModelForward
from unlearn_core.losses import sequence_sums

from unlearn_train import launching
from unlearn_train.adapting import adapters_off
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED
from unlearn_train.keeping import Keeper, KeptRows, Say, resting
from unlearn_train.pairs import Order
from unlearn_train.settings import TrainOptions

LOGPS, STATES = "logps", "states-"
"""names of what is kept; those of states go on with `logits` or the layer"""

Kept = Mapping[str, Tensor]
"""what is kept about the answer tokens of a batch, row after row, by name"""


class Reference(Protocol):
    """Answers what methods ask about a batch, without gradient."""

    def logps(self, batch: Batch, kept: Kept) -> Tensor | None:
        """Return the log-probability of each answer: [batch]; None where none was kept."""

    def logits(self, batch: Batch, kept: Kept) -> Tensor:
        """Return logits, right where answer tokens are predicted: [batch, length, vocabulary]."""

    def hidden(self, batch: Batch, layer: int, kept: Kept) -> Tensor:
        """Return a layer's output, likewise: [batch, length, width]."""


class KeptReference:
    """Answers from what was kept.

    Args:
        head: the output embedding as the reference has it; None where no logits are kept.
        about: the method, for messages.
        precision: of the training.
    """

    def __init__(self, head: Linear | None, about: object, precision: str = "fp32") -> None:
        self.head, self.about, self.precision = head, about, precision

    def logps(self, batch: Batch, kept: Kept) -> Tensor | None:
        """Return the log-probability of each answer."""
        return sequence_sums(kept[LOGPS], batch.labels) if LOGPS in kept else None

    @torch.no_grad()
    def logits(self, batch: Batch, kept: Kept) -> Tensor:
        """Return logits."""
        if self.head is None or _name(None) not in kept:
            raise ValueError(self._lacking("ref_logits"))
        device = batch.labels.device
        with torch.autocast(device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            logits: Tensor = self.head.to(device)(_spread(kept[_name(None)], batch))
        return logits.float() if self.precision == "bf16" else logits

    def hidden(self, batch: Batch, layer: int, kept: Kept) -> Tensor:
        """Return a layer's output."""
        if _name(layer) not in kept:
            raise ValueError(self._lacking("ref_hidden"))
        return _spread(kept[_name(layer)], batch)

    def _lacking(self, need: str) -> str:
        return f"{self.about} asks for `{need}` but does not say so in `needs` and `references`; add it there."


class ModelReference:
    """Runs a model at every step.

    Args:
        model: is not trained, or not while `within` lasts.
        within: makes it the reference.
        precision: of the training.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        within: Callable[[], AbstractContextManager[None]] = nullcontext,
        precision: str = "fp32",
    ) -> None:
        self.model, self.within, self.precision = model, within, precision

    def logps(self, batch: Batch, kept: Kept) -> Tensor | None:
        """Return the log-probability of each answer."""
        if LOGPS in kept:
            return sequence_sums(kept[LOGPS], batch.labels)
        with self._asked() as forward:
            return sequence_sums(forward.token_logps(batch), batch.labels)

    def logits(self, batch: Batch, kept: Kept) -> Tensor:
        """Return logits."""
        with self._asked() as forward:
            return forward(batch)

    def hidden(self, batch: Batch, layer: int, kept: Kept) -> Tensor:
        """Return a layer's output."""
        with self._asked() as forward:
            return forward.hidden(batch, layer)

    @contextmanager
    def _asked(self) -> Iterator[ModelForward]:
        with resting(self.model, self.precision), self.within():
            yield ModelForward(self.model)


def make_reference(
    model: PreTrainedModel,
    method: Method,
    sides: Mapping[str, EncodedRows],
    order: Order,
    collate: Collator,
    options: TrainOptions,
    *,
    cache: Path | None = None,
    digest: str | None = None,
) -> tuple[Reference, dict[str, dict[str, KeptRows]]]:
    """Make a method's reference from the model as it is now.

    Args:
        model: before it is unlearned, or an adapter put on it.
        method: whose losses are to be computed.
        sides: the rows by side, such as `forget`, `retain` and `idk`.
        order: the pairs of rows that the steps will see.
        collate: makes batches of rows.
        options: of which `reference`, `lora`, `precision` and `batch_size` count.
        cache: folder in which what is kept is written and looked for; None: in memory alone.
        digest: the model's, where it is known.

    Returns:
        The reference, and what is kept of each side's rows.
    """
    launching.join()
    needs, asked = method.asks(), method.references()
    if options.reference == "model" and needs & {"ref_logps", "ref_logits", "ref_hidden"}:
        return ModelReference(_frozen(model), precision=options.precision), {}
    how: dict[str, Any] = {"batch_size": options.batch_size, "precision": options.precision}
    keeper = Keeper(model, collate, folder=cache, digest=digest, **how)
    kept: dict[str, dict[str, KeptRows]] = {side: {} for side in sides}

    def keep(side: str, name: str, say: Say) -> None:
        met = {retain if side == "retain" else forget for forget, retain in order}
        kept[side][name] = keeper.keep(sides[side], met, name, say)

    # In an order that all processes have: that of a set is different in each.
    for side in [side for side in sides if side != "retain"] if "ref_logps" in needs else ():
        keep(side, LOGPS, _logps)
    if not needs & {"ref_logits", "ref_hidden"}:
        return KeptReference(None, method), kept
    if options.lora is not None:
        return ModelReference(model, lambda: adapters_off(model), options.precision), kept
    if not asked or not _has_linear_logits(keeper, asked, sides):
        return ModelReference(_frozen(model), precision=options.precision), kept
    for each in sorted(asked, key=str):
        keep(each.batch, _name(each.layer), _states(each.layer))
    head = _head(model) if any(each.layer is None for each in asked) else None
    return KeptReference(head, method, options.precision), kept


def discard_states(folder: Path) -> None:
    """Remove what was kept of logits and layers: it is large, and good for one run's rows alone."""
    for path in folder.glob(f"{STATES}*.safetensors"):
        path.unlink(missing_ok=True)


def reference_logps(
    model: PreTrainedModel, rows: EncodedRows, collate: Collator, *, batch_size: int, precision: str = "fp32"
) -> Tensor:
    """Return the log-probability of every row's answer, summed over its tokens, as `model` now is: [rows], float32."""
    keeper = Keeper(model, collate, batch_size=batch_size, precision=precision)
    kept = keeper.keep(rows, range(len(rows)), LOGPS, _logps)
    return torch.stack([kept[n].sum() for n in range(len(rows))])


def _logps(forward: ModelForward, batch: Batch) -> Tensor:
    return forward.token_logps(batch)


def _states(layer: int | None) -> Say:
    """What takes a layer's output, or what enters the output embedding, where answers are predicted."""

    def take(forward: ModelForward, batch: Batch) -> Tensor:
        states = forward.last_hidden(batch) if layer is None else forward.hidden(batch, layer)
        if states is None:
            raise ValueError("the model changes the logits of some rows alone; set `reference` to model.")
        return states[:, :-1][batch.labels[:, 1:] != IGNORED]

    return take


def _spread(values: Tensor, batch: Batch) -> Tensor:
    """Puts what is known of answer tokens where these are predicted: [batch, length, width], zeros elsewhere."""
    spread = values.new_zeros(*batch.labels.shape, values.shape[-1])
    spread[:, :-1][batch.labels[:, 1:] != IGNORED] = values
    return spread


def _name(layer: int | None) -> str:
    return f"{STATES}{'logits' if layer is None else layer}"


def _has_linear_logits(keeper: Keeper, asked: Collection[Asked], sides: Mapping[str, EncodedRows]) -> bool:
    """Whether logits, where they are asked for, are a linear map of what enters the output embedding."""
    side = next((each.batch for each in asked if each.layer is None), None)
    if side is None:
        return True
    with resting(keeper.model, keeper.precision):
        return ModelForward(keeper.model).last_hidden(keeper.batch([sides[side][0]])) is not None


def _head(model: PreTrainedModel) -> Linear:
    """The output embedding as it is now: a copy where it is trained."""
    head = ModelForward(model).output_embedding
    if not any(parameter.requires_grad for parameter in head.parameters()):
        return head
    return copy.deepcopy(head).requires_grad_(False)


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    copied = copy.deepcopy(model)
    copied.train(False).requires_grad_(False)
    return copied
