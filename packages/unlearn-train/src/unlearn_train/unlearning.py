"""Unlearning on `transformers.Trainer`."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer
from unlearn_core import Batch, LossParts, Method
from unlearn_core.losses import sequence_logps

from unlearn_train import training
from unlearn_train.answers import answers_alone, forward
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import IGNORED, Processor
from unlearn_train.models import context_length
from unlearn_train.pairs import PairCollator, Pairs
from unlearn_train.refusals import refusal_for
from unlearn_train.settings import TrainOptions
from unlearn_train.training import Log

SIDES = ("forget", "retain", "refusal")


def forget(
    model: PreTrainedModel,
    processor: Processor,
    method: Method,
    forget_rows: Sequence[Row],
    retain_rows: Sequence[Row],
    options: TrainOptions,
    *,
    quiet: bool = False,
) -> Log:
    """Make `model` forget `forget_rows` with `method` and keep `retain_rows`, in place.

    Args:
        model: the target; as it is when this starts it is the method's reference.
        processor: of the model.
        method: one of `unlearn_core.METHODS`.
        forget_rows: what the model must no longer know. An epoch is one pass over these.
        retain_rows: what it must still know; each step meets as many of these as of the others.
        options: of the training.
        quiet: show no progress.

    Returns:
        The log: loss, its two terms and the learning rate by step.

    Raises:
        ValueError: a set is empty, or a row cannot be encoded.
        FloatingPointError: the loss is no longer finite.
    """
    if not forget_rows or not retain_rows:
        raise ValueError(
            f"unlearning needs rows to forget and rows to keep, got {len(forget_rows)} and {len(retain_rows)}."
        )
    collate, length = Collator(processor), context_length(model)
    forgotten = EncodedRows(processor, forget_rows, max_length=length)
    refusals = (
        EncodedRows(processor, forget_rows, answer=lambda row: refusal_for(row["id"]), max_length=length)
        if "idk" in method.needs
        else None
    )
    pairs = Pairs(
        forgotten,
        EncodedRows(processor, retain_rows, max_length=length),
        epochs=options.epochs,
        seed=options.seed,
        refusals=refusals,
        forget_ref_logps=reference_logps(model, forgotten, collate, batch_size=options.batch_size)
        if "ref_logps" in method.needs
        else None,
        refusal_ref_logps=reference_logps(model, refusals, collate, batch_size=options.batch_size)
        if refusals and "ref_logps" in method.needs
        else None,
    )
    return training.run(
        UnlearnTrainer,
        options,
        quiet=quiet,
        passes=1,  # the pairs are those of all epochs
        method=method,
        reference=_frozen(model) if "ref_logits" in method.needs else None,
        model=model,
        train_dataset=pairs,
        data_collator=PairCollator(collate),
    )


def reference_logps(model: PreTrainedModel, rows: EncodedRows, collate: Collator, *, batch_size: int) -> Tensor:
    """Return the log-probability of every row's answer, summed over its tokens, as `model` now is: [rows], float32."""
    training = model.training
    model.train(False)
    logps = []
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = collate([rows[n] for n in range(start, min(start + batch_size, len(rows)))])
            answers = answers_alone({key: value.to(model.device) for key, value in batch.items()})
            logps.append(sequence_logps(forward(model, answers), answers.labels).sum.cpu())
    model.train(training)
    return torch.cat(logps)


class UnlearnTrainer(Trainer):
    """A `Trainer` whose loss is an unlearning method's, on the batches of a `PairCollator`.

    Args:
        method: the loss.
        reference: a frozen copy of the model, for methods that need its logits.
        **options: of `Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(self, *, method: Method, reference: PreTrainedModel | None, **options: Any) -> None:
        super().__init__(**options)
        self.method, self.reference = method, reference
        self.terms: dict[str, float] = {}

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the batches of one step, and the answer tokens and sequences that each side has in the whole step."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return samples, {
            side: self._totals([sample[side]["labels"] for sample in samples if side in sample], device)
            for side in SIDES
        }

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the method's loss on one batch of pairs: its share of the whole step's."""
        sides = {side: answers_alone(inputs[side]) for side in SIDES if side in inputs}
        for side, batch in sides.items():
            tokens, sequences = num_items_in_batch[side]
            sides[side] = replace(
                batch,
                ref_logps=inputs.get(f"{side}_ref_logps"),
                ref_logits=partial(self._ref_logits, batch),
                step_tokens=tokens,
                step_sequences=sequences,
            )
        forgotten = replace(sides["forget"], idk=sides.get("refusal"))
        parts = self.method.loss(partial(forward, model), forgotten, sides["retain"])
        self._note(parts)
        loss = parts.total * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log the terms of the last batch beside the loss."""
        super().log({**logs, **self.terms}, *args, **options)

    def _totals(self, labels: list[Tensor], device: torch.device) -> tuple[int, int]:
        counts = torch.tensor(
            [sum(int((side[:, 1:] != IGNORED).sum()) for side in labels), sum(len(side) for side in labels)],
            device=device,
        )
        tokens, sequences = self.accelerator.reduce(counts, "sum").tolist()
        return tokens, sequences

    def _note(self, parts: LossParts) -> None:
        self.terms = {
            f"{name}_loss": float(term.detach())
            for name, term in parts._asdict().items()
            if term is not None and name != "total"
        }
        if not torch.isfinite(parts.total):
            raise FloatingPointError(
                f"the loss of {self.method} is not finite at step {self.state.global_step + 1} ({self.terms}); lower "
                "the learning rate or the forget weight."
            )

    @torch.no_grad()
    def _ref_logits(self, batch: Batch) -> Tensor:
        if self.reference is None:
            raise ValueError(
                f"{self.method} asks for logits of the reference but does not say so in `needs`; add `ref_logits` "
                "there."
            )
        return forward(self.reference, batch)

    def _get_train_sampler(self, *args: Any, **options: Any) -> Sampler[int]:
        # The pairs are in their order already; shuffled again, a retain row could come back before all had their turn.
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # a Trainer's may be anything


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    copied = copy.deepcopy(model)
    copied.train(False).requires_grad_(False)
    return copied
