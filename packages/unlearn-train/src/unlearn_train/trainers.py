"""The trainers: `transformers.Trainer` with the losses of finetuning and of unlearning, as shares of a step's."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.data import DataLoader, SequentialSampler
from transformers import Trainer
from unlearn_core import Batch, Forward, JointForward, LossParts, Method, ModelForward, lora_l1

from unlearn_train import launching
from unlearn_train.answers import answers_alone, answers_together
from unlearn_train.checkpoints import load_checkpoint, save_checkpoint
from unlearn_train.collation import EncodedRows
from unlearn_train.encoding import IGNORED
from unlearn_train.joining import is_worth_joining
from unlearn_train.lengths import LengthSampler
from unlearn_train.other_answers import KINDS
from unlearn_train.pace import Pace
from unlearn_train.pairs import Pairs
from unlearn_train.reference import Reference
from unlearn_train.sharing import IDLE, UNCOUNTED, averaged, share_batches, summed
from unlearn_train.transforming import TransformedSteps
from unlearn_train.watching import Watch

SIDES = ("forget", "retain", *KINDS)


class AnswerTrainer(Trainer):
    """A `Trainer` whose loss is the mean over all answer tokens of a step, with logits computed only for these."""

    def __init__(self, *, by_length: bool, **options: Any) -> None:
        super().__init__(**options)
        self.by_length, self.pace = by_length, Pace()
        self.terms: dict[str, float] = {}

    def compute_loss(
        self, model: Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one batch: its share of the whole step's, so that splitting the step changes nothing."""
        counts = IDLE not in inputs
        batch = answers_alone({name: value for name, value in inputs.items() if name != IDLE})
        loss = -ModelForward(model).token_logps(batch).sum() / num_items_in_batch * counts
        self.terms["loss"] = float(loss.detach())
        if not math.isfinite(self.terms["loss"]):
            raise FloatingPointError(
                f"the loss is not finite at step {self.state.global_step + 1} ({self.terms['loss']}); lower the "
                "learning rate."
            )
        loss = averaged(self, model, loss)
        return (loss, None) if return_outputs else loss

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the batches of one step, and the answer tokens of all processes in the whole step."""
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.pace.count(samples)
        counted = [sample["labels"][:, 1:] for sample in samples if IDLE not in sample]
        tokens = torch.tensor(sum(int((labels != IGNORED).sum()) for labels in counted), device=device)
        return samples, self.accelerator.reduce(tokens, "sum")

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's part of every batch, in batches of like length."""
        rows: EncodedRows = self.train_dataset  # type: ignore[assignment]  # a Trainer's may be anything
        size = self.args.train_batch_size * launching.processes()
        lengths = rows.rough_lengths() if self.by_length else [1] * len(rows)
        order = LengthSampler(lengths, size * self.args.gradient_accumulation_steps, seed=self.args.seed)
        return share_batches(rows, order, size, self.data_collator)

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log the pace beside the loss."""
        super().log({**logs, **self.pace.beside(logs)}, *args, **options)

    def carried(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside weights, optimizer and schedule; every process must ask."""
        return {}

    def carry(self, carried: Mapping[str, Any]) -> None:
        """Go on with what a checkpoint kept."""

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights of a checkpoint."""
        save_checkpoint(self, Path(str(output_dir)), {})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Module | None = None) -> None:
        load_checkpoint(self, Path(resume_from_checkpoint))


class UnlearnTrainer(Trainer):
    """A `Trainer` whose loss is an unlearning method's, on the batches of a `PairCollator`.

    Args:
        method: the loss.
        reference: says what methods ask about the model as it was.
        lora_l1: weight of the L1 norm of what LoRA adds to the weights.
        transforms: what the gradients of a step go through.
        watch: what is looked at on the way.
        **options: of `Trainer`.
    """

    loss_is_scaled_for_ga = True

    def __init__(
        self,
        *,
        method: Method,
        reference: Reference,
        lora_l1: float = 0.0,
        transforms: TransformedSteps | None = None,
        watch: Watch | None = None,
        **options: Any,
    ) -> None:
        # A Trainer that evaluates wants rows to do it on; the watch has its own.
        super().__init__(**options, eval_dataset=None if watch is None else watch.rows["forget"])
        self.watch, self.pace = watch, Pace()
        self.method, self.reference, self.lora_l1, self.transforms = method, reference, lora_l1, transforms
        self.method_state = method.start()
        self.terms: dict[str, float] = {}
        """of the step so far, this process's part"""
        self.has_ended = False
        """whether the watch had ended this training before it was cut off"""
        self.is_joint = False
        """whether the sides of this step run in one forward pass"""

    def get_batch_samples(
        self, epoch_iterator: Iterator[Any], num_batches: int, device: torch.device
    ) -> tuple[list[Any], Any]:
        """Return the batches of one step, and the answer tokens and sequences that each side has in the whole step."""
        if self.terms:
            self._advance(device)
        samples, _ = super().get_batch_samples(epoch_iterator, num_batches, device)
        self.pace.count(samples)
        sides = self.method.together
        self.is_joint = bool(sides) and is_worth_joining(self, [[sample[side] for side in sides] for sample in samples])
        return samples, self._totals([sample for sample in samples if IDLE not in sample], device)

    def compute_loss(
        self, model: Module, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the method's loss on one batch of pairs: its share of the whole step's."""
        parts = self.parts(model, inputs, num_items_in_batch)
        self.note(parts)
        loss = averaged(self, model, parts.total)
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
        parts = self.method.loss(self._forward(model, forgotten, retained), forgotten, retained)
        if not self.lora_l1:
            return parts
        return parts._replace(total=parts.total + self.lora_l1 * lora_l1(model) * forgotten.sequence_share)

    def batches(self, inputs: dict[str, Any], totals: dict[str, tuple[int, int]]) -> tuple[Batch, Batch]:
        """Return what the method sees of a collated batch: the rows to forget and those to keep.

        Args:
            inputs: from a `PairCollator`, on the model's device.
            totals: answer tokens and sequences that each side has in the whole step.
        """
        if IDLE in inputs:
            totals = dict.fromkeys(totals, (UNCOUNTED, UNCOUNTED))
        joined: tuple[str, ...] = self.method.together if self.is_joint else ()
        batches = dict(zip(joined, answers_together([inputs[side] for side in joined]), strict=True)) if joined else {}
        batches |= {side: answers_alone(inputs[side]) for side in SIDES if side in inputs and side not in joined}
        sides = {side: self._side(side, batch, inputs["kept"], totals) for side, batch in batches.items()}
        others: dict[str, Any] = {kind: sides[kind] for kind in KINDS if kind in sides}
        return replace(sides["forget"], **others), sides["retain"]

    def carried(self) -> dict[str, Any]:
        """Return what a checkpoint keeps beside weights, optimizer and schedule; every process must ask."""
        ended = self.watch.reason if self.watch is not None and self.control.should_training_stop else None
        return {"state": dict(self.method_state), "terms": summed(self.terms, self), "ended": ended}

    def carry(self, carried: Mapping[str, Any]) -> None:
        """Go on with what a checkpoint kept."""
        self.method_state = dict(carried["state"])
        # The sum over the processes is the first one's now.
        self.terms.update({name: value * self.is_world_process_zero() for name, value in carried["terms"].items()})
        if self.watch is not None and carried["ended"]:
            self.has_ended, self.watch.reason = True, carried["ended"]

    def _run_epoch(self, *args: Any, **parts: Any) -> None:
        if not self.has_ended:  # cut off after its last step, there is but the best state to be put back
            super()._run_epoch(*args, **parts)  # type: ignore[no-untyped-call]  # theirs has no types

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Write the weights of a checkpoint."""
        save_checkpoint(self, Path(str(output_dir)), self.transforms.kept() if self.transforms else {})

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Module | None = None) -> None:
        kept = load_checkpoint(self, Path(resume_from_checkpoint))
        if self.transforms is not None:
            self.transforms.restore(kept)

    def evaluate(self, *args: Any, **options: Any) -> dict[str, float]:
        """Look at the model as it now is."""
        if self.watch is None:
            raise ValueError("nothing watches this training; set `watch` in its options.")
        model: Any = self.model
        found = self.watch.look(model)
        self.log(found)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found)
        return found

    def log(self, logs: dict[str, float], *args: Any, **options: Any) -> None:
        """Log the terms of the last step and the pace beside the loss."""
        terms = {f"{name}_loss": value for name, value in summed(self.terms, self).items()}
        super().log({**logs, **terms, **self.pace.beside(logs)}, *args, **options)

    def _load_best_model(self) -> None:
        if self.is_deepspeed_enabled:
            super()._load_best_model()
        else:
            load_checkpoint(self, Path(str(self.state.best_model_checkpoint)))

    def _side(self, side: str, batch: Batch, kept: Mapping[str, Mapping[str, Tensor]], totals: Any) -> Batch:
        tokens, sequences = totals[side]
        known, needs = kept.get(side, {}), self.method.asks()
        return replace(
            batch,
            ref_logps=self.reference.logps(batch, known) if "ref_logps" in needs and side != "retain" else None,
            ref_logits=lambda: self.reference.logits(batch, known),
            ref_hidden=lambda layer: self.reference.hidden(batch, layer, known),
            step=self.state.global_step,
            steps=self.state.max_steps,
            state=self.method_state,
            step_tokens=tokens,
            step_sequences=sequences,
        )

    def _forward(self, model: Module, forgotten: Batch, retained: Batch) -> Forward:
        """What the method runs: each batch by itself, or those that it reads together in one pass."""
        forward = ModelForward(model)
        if not self.is_joint:
            return forward
        sides = {"forget": forgotten, "retain": retained, **{kind: getattr(forgotten, kind) for kind in KINDS}}
        return JointForward(forward, [sides[side] for side in self.method.together])

    def _totals(self, samples: list[Any], device: torch.device) -> dict[str, tuple[int, int]]:
        """Answer tokens and sequences of each side, of all processes."""
        labels = {side: [sample[side]["labels"] for sample in samples if side in sample] for side in SIDES}
        counts = [
            [sum(int((rows[:, 1:] != IGNORED).sum()) for rows in found), sum(map(len, found))]
            for found in labels.values()
        ]
        whole = self.accelerator.reduce(torch.tensor(counts, device=device), "sum").tolist()
        return {side: (tokens, sequences) for side, (tokens, sequences) in zip(SIDES, whole, strict=True)}

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
        self.method_state = self.method.advance(self.method_state, summed(self.terms, self))
        self.terms.clear()

    def _prepare_inputs(self, inputs: dict[str, Any]) -> dict[str, Any]:
        # Without what is kept: DeepSpeed would round it to the type of the weights.
        moved = super()._prepare_inputs({name: value for name, value in inputs.items() if name != "kept"})
        kept = {
            side: {name: value.to(self.args.device) for name, value in named.items()}
            for side, named in inputs["kept"].items()
        }
        return {**moved, "kept": kept}

    def get_train_dataloader(self) -> DataLoader[Any]:
        """Return this process's part of every batch, in the order that the pairs have already."""
        pairs: Pairs = self.train_dataset  # type: ignore[assignment]  # a Trainer's may be anything
        size = self.args.train_batch_size * launching.processes()
        return share_batches(pairs, SequentialSampler(pairs), size, self.data_collator)
