"""What a method is, what it is given and what it gives back."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.losses._answers import answer_mask

Need: TypeAlias = Literal["forget", "retain", "idk", "ref_logps", "ref_logits"]
"""What a trainer may have to supply.

| need | meaning |
|---|---|
| `forget`, `retain` | that batch; where it is absent from `needs`, `None` may be passed |
| `idk` | `forget.idk`, the forget questions with refusals for answers |
| `ref_logps` | `ref_logps` of the forget batch, and of `forget.idk` where that is needed |
| `ref_logits` | `ref_logits` of every batch; only those that the method calls are computed |
"""


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows for one forward pass, with what the method needs to know about them.

    Attributes:
        inputs: All that the model's forward takes, labels apart: `input_ids`, `attention_mask`, `pixel_values`, ….
        labels: Token ids, aligned with `input_ids`; -100 everywhere but at answer tokens.
        ref_logps: Sum of log p over each answer's tokens under the reference model.
        ref_logits: Computes the reference model's logits on these inputs, without gradient, when called.
        idk: The same questions, in the same order, with refusals for answers.
        step_tokens: Answer tokens of the whole optimizer step, all its batches and ranks together, where this batch is
            only a part of it. Losses are then weighted by this batch's share, so that their sum over the parts is the
            mean over the whole, however it was split.
        step_sequences: Sequences of the whole optimizer step, likewise.
    """

    inputs: Mapping[str, Tensor]
    labels: Int[Tensor, "batch length"]
    ref_logps: Float[Tensor, " batch"] | None = None
    ref_logits: Callable[[], Tensor] | None = None
    idk: "Batch | None" = None
    step_tokens: int | None = None
    step_sequences: int | None = None

    def __post_init__(self) -> None:
        for name in ("step_tokens", "step_sequences"):
            if getattr(self, name) is not None:
                _checks.positive(name, getattr(self, name))

    @property
    def token_share(self) -> float:
        """This batch's part of the answer tokens of the optimizer step; 1.0 where it is the whole."""
        return 1.0 if self.step_tokens is None else int(answer_mask(self.labels).sum()) / self.step_tokens

    @property
    def sequence_share(self) -> float:
        """This batch's part of the sequences of the optimizer step; 1.0 where it is the whole."""
        return 1.0 if self.step_sequences is None else len(self.labels) / self.step_sequences


Forward: TypeAlias = Callable[[Batch], Tensor]
"""Runs the model that is trained on a batch and returns its logits, [batch, length, vocabulary]."""


class LossParts(NamedTuple):
    """A loss and its terms.

    Attributes:
        total: What to minimize: the weighted sum of the terms.
        forget: The forget term before weighting, its gradient attached; `None` where the method has none.
        retain: The retain term, likewise.
    """

    total: Float[Tensor, ""]
    forget: Float[Tensor, ""] | None
    retain: Float[Tensor, ""] | None


class Method(ABC):
    """A loss method of unlearning; its subclasses are frozen dataclasses, whose fields are its options.

    Attributes:
        paper: Where the method was published.
        summary: What it does, in a line.
        needs: What the trainer must supply.
    """

    paper: ClassVar[str]
    summary: ClassVar[str]
    needs: ClassVar[frozenset[Need]]

    @abstractmethod
    def loss(self, forward: Forward, forget: Batch | None, retain: Batch | None) -> LossParts:
        """Returns the loss of one step.

        Args:
            forward: Runs the model that is trained; called once or more for each batch that the method reads.
            forget: Rows to forget.
            retain: Rows to keep.

        Raises:
            ValueError: If something that the method `needs` was not supplied, or does not fit.
        """
