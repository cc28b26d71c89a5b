"""Unlearning on `transformers.Trainer`."""

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.data import Sampler, SequentialSampler
from transformers import PreTrainedModel, Trainer
from unlearn_core import Batch, LossParts, Method, ModelForward, Transform, lora_l1
from unlearn_core.losses import sequence_sums

from unlearn_train import training
from unlearn_train.answers import answers_alone
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import IGNORED, Processor
from unlearn_train.materials import make_material
from unlearn_train.models import context_length
from unlearn_train.other_answers import KINDS, other_answers
from unlearn_train.pairs import PairCollator, Pairs
from unlearn_train.settings import TrainOptions
from unlearn_train.training import Log
from unlearn_train.transforming import TransformedSteps

SIDES = ("forget", "retain", *KINDS)


def forget(
    model: PreTrainedModel,
    processor: Processor,
    method: Method,
    forget_rows: Sequence[Row],
    retain_rows: Sequence[Row],
    options: TrainOptions,
    *,
    alternates: Mapping[str, str] | None = None,
    transforms: Sequence[Transform] = (),
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
        alternates: other plausible answers by row id, for methods that need them; by default the model makes them up.
        transforms: what the loss's gradients go through, the first comes first after the loss.
        quiet: show no progress.

    Returns:
        The log: loss, its two terms and the learning rate by step.

    Raises:
        ValueError: a set is empty, or a row cannot be encoded.
        FloatingPointError: a loss, a gradient or a weight is no longer finite; the model keeps its last good weights.
    """
    if not forget_rows or not retain_rows:
        raise ValueError(
            f"unlearning needs rows to forget and rows to keep, got {len(forget_rows)} and {len(retain_rows)}."
        )
    needs, collate, length = method.asks(), Collator(processor), context_length(model)
    forgotten = EncodedRows(processor, forget_rows, max_length=length)
    others = other_answers(needs, model, processor, forget_rows, retain_rows, seed=options.seed, alternates=alternates)
    scored = {"forget": forgotten, **others} if "ref_logps" in needs else {}
    pairs = Pairs(
        forgotten,
        EncodedRows(processor, retain_rows, max_length=length),
        epochs=options.epochs,
        seed=options.seed,
        others=others,
        ref_logps={
            side: reference_logps(model, rows, collate, batch_size=options.batch_size) for side, rows in scored.items()
        },
    )
    return training.run(
        UnlearnTrainer,
        options,
        quiet=quiet,
        passes=1,  # the pairs are those of all epochs
        method=method,
        reference=_frozen(model) if needs & {"ref_logits", "ref_hidden"} else None,
        lora_l1=options.lora_l1,
        transforms=TransformedSteps(
            transforms, model, make_material(model, processor, forget_rows, retain_rows, options), options
        )
        if transforms
        else None,
        model=model,
        train_dataset=pairs,
        data_collator=PairCollator(collate),
    )


def reference_logps(model: PreTrainedModel, rows: EncodedRows, collate: Collator, *, batch_size: int) -> Tensor:
    """Return the log-probability of every row's answer, summed over its tokens, as `model` now is: [rows], float32."""
    training = model.training
    model.train(False)
    logps = []
    run = ModelForward(model)
    with torch.no_grad():
        for start in range(0, len(rows), batch_size):
            batch = collate([rows[n] for n in range(start, min(start + batch_size, len(rows)))])
            answers = answers_alone({key: value.to(model.device) for key, value in batch.items()})
            logps.append(sequence_sums(run.token_logps(answers), answers.labels).cpu())
    model.train(training)
    return torch.cat(logps)


class UnlearnTrainer(Trainer):
    """A `Trainer` whose loss is an unlearning method's, on the batches of a `PairCollator`.

    Args:
        method: the loss.
        reference: a frozen copy of the model, for methods that need its logits or hidden states.
        lora_l1: weight of the L1 norm of what LoRA adds to the weights.
        transforms: what the gradients of a step go through.
        **options: of `Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        method: Method,
        reference: PreTrainedModel | None,
        lora_l1: float = 0.0,
        transforms: TransformedSteps | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.method, self.reference, self.lora_l1, self.transforms = method, reference, lora_l1, transforms
        self.method_state = method.start()
        self.terms: dict[str, float] = {}
        """of the step so far, this process's part"""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the batches of one step, and the answer tokens and sequences that each side has in the whole step."""
        if self.terms:
            self._advance(device)
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        return samples, {
            side: self._totals([sample[side]["labels"] for sample in samples if side in sample], device)
            for side in SIDES
        }

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the method's loss on one batch of pairs: its share of the whole step's."""
        parts = self.parts(model, inputs, num_items_in_batch)
        self.note(parts)
        loss = parts.total * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def training_step(self, model: Module, inputs: dict[str, Any], num_items_in_batch: Any = None) -> Tensor:
        """Differentiate the loss of one batch, or that of a whole step where transforms look at its gradients."""
        if self.transforms is None:
            return super().training_step(model, inputs, num_items_in_batch)
        return self.transforms.training_step(self, model, inputs, num_items_in_batch)

    def parts(self, model: Module, inputs: dict[str, Any], totals: dict[str, tuple[int, int]]) -> LossParts:
        """Return the method's loss on one batch of pairs, with the penalty on LoRA in its total: shares of the step's.

        Args:
            model: the one that is trained, wrapped or not.
            inputs: see `batches`.
            totals: likewise.
        """
        forgotten, retained = self.batches(inputs, totals)
        parts = self.method.loss(ModelForward(model), forgotten, retained)
        if not self.lora_l1:
            return parts
        return parts._replace(total=parts.total + self.lora_l1 * lora_l1(model) * forgotten.sequence_share)

    def batches(self, inputs: dict[str, Any], totals: dict[str, tuple[int, int]]) -> tuple[Batch, Batch]:
        """Return what the method sees of a collated batch: the rows to forget and those to keep.

        Args:
            inputs: from a `PairCollator`, on the model's device.
            totals: answer tokens and sequences that each side has in the whole step.
        """
        sides = {side: self._side(side, inputs, totals) for side in SIDES if side in inputs}
        others: dict[str, Any] = {kind: sides[kind] for kind in KINDS if kind in sides}
        return replace(sides["forget"], **others), sides["retain"]

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log the terms of the last step beside the loss."""
        super().log({**logs, **{f"{name}_loss": value for name, value in self.terms.items()}}, *args, **options)

    def _side(self, side: str, inputs: dict[str, Any], totals: dict[str, tuple[int, int]]) -> Batch:
        batch = answers_alone(inputs[side])
        tokens, sequences = totals[side]
        return replace(
            batch,
            ref_logps=inputs["ref_logps"].get(side),
            ref_logits=lambda: self._reference("ref_logits")(batch),
            ref_hidden=lambda layer: self._reference("ref_hidden").hidden(batch, layer),
            step=self.state.global_step,
            steps=self.state.max_steps,
            state=self.method_state,
            step_tokens=tokens,
            step_sequences=sequences,
        )

    def _totals(self, labels: list[Tensor], device: torch.device) -> tuple[int, int]:
        counts = torch.tensor(
            [sum(int((side[:, 1:] != IGNORED).sum()) for side in labels), sum(len(side) for side in labels)],
            device=device,
        )
        tokens, sequences = self.accelerator.reduce(counts, "sum").tolist()
        return tokens, sequences

    def note(self, parts: LossParts) -> None:
        """Add a batch's terms to the step's."""
        values = {name: float(term.detach()) for name, term in parts._asdict().items() if term is not None}
        total = values.pop("total")
        wrong = [name for name, value in values.items() if not math.isfinite(value)]
        if wrong or not math.isfinite(total):
            raise FloatingPointError(
                f"the {' and '.join(wrong) or 'total'} loss of {self.method} is not finite at step "
                f"{self.state.global_step + 1} ({values}); lower the learning rate or the forget weight."
            )
        for name, value in values.items():
            self.terms[name] = self.terms.get(name, 0.0) + value

    def _advance(self, device: torch.device) -> None:
        """Move the method's state on with the terms of the step that is done."""
        terms = dict(self.terms)
        if self.accelerator.num_processes > 1:
            values = torch.tensor(list(terms.values()), device=device)
            terms = dict(zip(terms, self.accelerator.reduce(values, "sum").tolist(), strict=True))
        self.method_state = self.method.advance(self.method_state, terms)
        self.terms.clear()

    def _reference(self, need: str) -> ModelForward:
        """The reference, all of whose weights are frozen, so that no gradient is kept of it."""
        if self.reference is None:
            raise ValueError(f"{self.method} asks for `{need}` but does not say so in `needs`; add it there.")
        return ModelForward(self.reference)

    def _get_train_sampler(self, *args: Any, **options: Any) -> Sampler[int]:
        # The pairs are in their order already; shuffled again, a retain row could come back before all had their turn.
        return SequentialSampler(self.train_dataset)  # type: ignore[arg-type]  # a Trainer's may be anything


def _frozen(model: PreTrainedModel) -> PreTrainedModel:
    copied = copy.deepcopy(model)
    copied.train(False).requires_grad_(False)
    return copied
