"""What a method is given of the rows of one forward pass."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from jaxtyping import Float, Int
from torch import Tensor

from unlearn_core import _checks
from unlearn_core.losses._answers import answer_mask


@dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
    """Rows for one forward pass, with what the method needs to know about them.

    Attributes:
        inputs: All that the model's forward takes, labels apart: `input_ids`, `attention_mask`, `pixel_values`, ….
        labels: Token ids, -100 everywhere but at answer tokens. Aligned with the end of `input_ids`: where the rows
            begin with positions that no answer token is at, labels and logits may leave those out.
        ref_logps: Sum of log p over each answer's tokens under the reference model.
        ref_logits: Computes the reference model's logits on these inputs, without gradient, when called.
        ref_hidden: Computes the output of one of the reference model's layers on these inputs, likewise.
        idk: The same questions, in the same order, with refusals for answers.
        alternate: The same questions with other plausible answers.
        random: The same questions with answers of random rows to keep.
        shuffled: The same questions with answers of other rows to forget.
        step: Index of the optimizer step, from 0.
        steps: Number of optimizer steps of the run.
        state: What the method carries from step to step: see `Method.start`.
        step_tokens: Answer tokens of the whole optimizer step, all its batches and ranks together, where this batch is
            only a part of it. Losses are then weighted by this batch's share, so that their sum over the parts is the
            mean over the whole, however it was split.
        step_sequences: Sequences of the whole optimizer step, likewise.

    Raises:
        ValueError: If a number is out of range, or `step` is not before `steps`.
    """

    inputs: Mapping[str, Tensor]
    labels: Int[Tensor, "batch length"]
    ref_logps: Float[Tensor, " batch"] | None = None
    ref_logits: Callable[[], Tensor] | None = None
    ref_hidden: Callable[[int], Tensor] | None = None
    idk: "Batch | None" = None
    alternate: "Batch | None" = None
    random: "Batch | None" = None
    shuffled: "Batch | None" = None
    step: int = 0
    steps: int = 1
    state: Mapping[str, float] = field(default_factory=dict)
    step_tokens: int | None = None
    step_sequences: int | None = None

    def __post_init__(self) -> None:
        for name in ("step_tokens", "step_sequences"):
            if getattr(self, name) is not None:
                _checks.positive(name, getattr(self, name))
        _checks.non_negative("step", self.step)
        if self.step >= self.steps:
            raise ValueError(f"`step` must be below `steps`, got {self.step} of {self.steps}: steps count from 0.")

    @property
    def token_share(self) -> float:
        """This batch's part of the answer tokens of the optimizer step; 1.0 where it is the whole."""
        return 1.0 if self.step_tokens is None else int(answer_mask(self.labels).sum()) / self.step_tokens

    @property
    def sequence_share(self) -> float:
        """This batch's part of the sequences of the optimizer step; 1.0 where it is the whole."""
        return 1.0 if self.step_sequences is None else len(self.labels) / self.step_sequences
