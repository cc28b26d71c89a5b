"""Finetuning on `transformers.Trainer`, and what every training here shares."""

import math
import tempfile
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.nn import Module
from torch.utils.data import Sampler
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments
from unlearn_core import ModelForward

from unlearn_train.answers import answers_alone
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import Processor
from unlearn_train.lengths import LengthSampler
from unlearn_train.models import context_length, flush_denormals
from unlearn_train.safety import FiniteSteps
from unlearn_train.settings import TrainOptions

if TYPE_CHECKING:
    from unlearn_train.unlearning import UnlearnTrainer

Log = list[dict[str, float]]


def finetune(
    model: PreTrainedModel, processor: Processor, rows: Sequence[Row], options: TrainOptions, *, quiet: bool = False
) -> Log:
    """Teach `model` the answers of `rows`, in place.

    Returns:
        The log: loss and learning rate by step.

    Raises:
        ValueError: there are no rows, or one cannot be encoded.
    """
    if not rows:
        raise ValueError("there are no rows to learn; name a set that has some.")
    encoded = EncodedRows(processor, rows, max_length=context_length(model))
    return run(
        AnswerTrainer,
        options,
        quiet=quiet,
        passes=options.epochs,
        model=model,
        train_dataset=encoded,
        data_collator=Collator(processor),
    )


class AnswerTrainer(Trainer):
    """A `Trainer` whose loss is the mean over all answer tokens of a step, with logits computed only for these."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.terms: dict[str, float] = {}

    def compute_loss(
        self, model: Module, inputs: dict[str, Tensor], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the loss of one batch: its share of the whole step's, so that splitting the step changes nothing."""
        batch = answers_alone(inputs)
        loss = -ModelForward(model).token_logps(batch).sum() / num_items_in_batch
        self.terms["loss"] = float(loss.detach())
        if not math.isfinite(self.terms["loss"]):
            raise FloatingPointError(
                f"the loss is not finite at step {self.state.global_step + 1} ({self.terms['loss']}); lower the "
                "learning rate."
            )
        # Gradients are averaged over the processes, their losses are shares of one sum.
        loss = loss * self.accelerator.num_processes
        return (loss, None) if return_outputs else loss

    def _get_train_sampler(self, *args: Any, **options: Any) -> Sampler[int]:
        rows: EncodedRows = self.train_dataset  # type: ignore[assignment]  # a Trainer's may be anything
        step = self.args.train_batch_size * self.args.gradient_accumulation_steps
        return LengthSampler(rows.rough_lengths(), step, seed=self.args.seed)


def run(
    trainer_class: "type[AnswerTrainer | UnlearnTrainer]",
    options: TrainOptions,
    *,
    quiet: bool,
    passes: float,
    **parts: Any,
) -> Log:
    """Train with a trainer whose losses are shares of their step's.

    Args:
        trainer_class: a `Trainer` that keeps the terms of its loss.
        options: of the training.
        quiet: show no progress.
        passes: over the trainer's dataset.
        **parts: what the trainer takes, such as `model` and `train_dataset`.

    Raises:
        ValueError: the model's weights cannot be trained as they are.
        FloatingPointError: a loss, a gradient or a weight is no longer finite; the model keeps its last good weights.
    """
    if parts["model"].dtype == torch.float16:
        raise ValueError("float16 weights cannot be trained without losing small steps; load them as float32.")
    flush_denormals()
    torch.manual_seed(options.seed)
    with tempfile.TemporaryDirectory() as scratch:
        trainer = trainer_class(
            args=_arguments(options, scratch, quiet=quiet, passes=passes),
            **parts,
        )
        # The losses are shares of their step's already: accumulation must not divide them again.
        trainer.model_accepts_loss_kwargs = True
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(FiniteSteps(trainer.terms))
        trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]


def _arguments(options: TrainOptions, folder: str, *, quiet: bool, passes: float) -> TrainingArguments:
    return TrainingArguments(
        output_dir=folder,
        num_train_epochs=passes,
        per_device_train_batch_size=options.batch_size,
        gradient_accumulation_steps=options.accumulation,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        bf16=options.precision == "bf16",
        use_cpu=not torch.accelerator.is_available(),  # bf16 is refused where this is not said
        optim="adamw_torch_fused",
        seed=options.seed,
        data_seed=options.seed,
        disable_tqdm=quiet,
        logging_steps=0.05,
        save_strategy="no",
        report_to="none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
