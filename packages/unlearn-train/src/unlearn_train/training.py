"""Finetuning on `transformers.Trainer`, and what every training here shares."""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from transformers import PreTrainedModel, PrinterCallback, Trainer, TrainingArguments

from unlearn_train import launching
from unlearn_train.adapting import adapted
from unlearn_train.checkpoints import (
    KEPT,
    Checkpoints,
    MarkedCheckpoints,
    data_alone,
    deepspeed_classes,
    describe_training,
    full_disk_named,
)
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import Processor
from unlearn_train.models import context_length, flush_denormals, place
from unlearn_train.safety import FiniteSteps
from unlearn_train.settings import TrainOptions
from unlearn_train.sharing import EveryWeightMoves, rows_each, sharing
from unlearn_train.trainers import AnswerTrainer, UnlearnTrainer
from unlearn_train.watching import SCORE, Watch
from unlearn_train.zero import asks_for_deepspeed, check_fits, deepspeed_if, gradient_norm, plain_afterwards, read_zero

Log = list[dict[str, float]]
LOST = 1e-4
"""learning rate below which AdamW moves most weights in bfloat16 by less than half of their last digit"""
_LOG = logging.getLogger(__name__)


def finetune(
    model: PreTrainedModel,
    processor: Processor,
    rows: Sequence[Row],
    options: TrainOptions,
    *,
    resume: Path | None = None,
    quiet: bool = False,
) -> Log:
    """Teach `model` the answers of `rows`, in place.

    Args:
        model: what is taught.
        processor: of the model.
        rows: what it must know.
        options: of the training.
        resume: folder for checkpoints: where the same training was cut off with this folder before, it goes on. It is
            left to the caller, who removes it once the model is saved.
        quiet: show no progress.

    Returns:
        The log: loss and learning rate by step.

    Raises:
        ValueError: there are no rows, or one cannot be encoded.
    """
    if not rows:
        raise ValueError("there are no rows to learn; name a set that has some.")
    for name in ("watch", "lora_l1"):
        if getattr(options, name):
            raise ValueError(f"`{name}` is for unlearning; leave it out where rows are learnt.")
    rows_each(options.batch_size, len(rows))
    place(model)
    encoded = EncodedRows(processor, rows, max_length=context_length(model))
    checkpoints = None
    if resume is not None:
        checkpoints = Checkpoints(resume, describe_training(model, processor, options, {"learnt": rows}), quiet=quiet)
    with adapted(model, options):
        return run(
            AnswerTrainer,
            options,
            quiet=quiet,
            checkpoints=checkpoints,
            passes=options.epochs,
            by_length=options.by_length,
            model=model,
            train_dataset=encoded,
            data_collator=Collator(processor),
        )


def run(
    trainer_class: type[AnswerTrainer | UnlearnTrainer],
    options: TrainOptions,
    *,
    quiet: bool,
    passes: float,
    checkpoints: Checkpoints | None = None,
    **parts: Any,
) -> Log:
    """Train with a trainer whose losses are shares of their step's.

    Args:
        trainer_class: a `Trainer` that keeps the terms of its loss.
        options: of the training.
        quiet: show no progress.
        passes: over the trainer's dataset.
        checkpoints: where to go on from, and to write to.
        **parts: what the trainer takes, such as `model`, `train_dataset` and `watch`.

    Raises:
        ValueError: the model's weights cannot be trained as they are.
        FloatingPointError: a loss, a gradient or a weight is no longer finite; the model keeps its last good weights,
            and its adapters on it. Under ZeRO's third stage each process has but its share of them, and the model is of
            no more use.
    """
    if parts["model"].dtype == torch.float16:
        raise ValueError("float16 weights cannot be trained without losing small steps; load them as float32.")
    _warn_of_lost_steps(parts["model"], options)
    flush_denormals()
    launching.join()
    torch.manual_seed(options.seed)
    rows = rows_each(options.batch_size, len(parts["train_dataset"]))
    last = None if checkpoints is None else checkpoints.last()
    saves = checkpoints is not None
    watch: Watch | None = parts.get("watch")
    with _work_folder(checkpoints) as folder, deepspeed_if(asks_for_deepspeed(options.deepspeed)):
        trainer = trainer_class(
            args=_arguments(
                options, folder, quiet=quiet, passes=passes, rows=rows, saves=saves, watches=watch is not None
            ),
            **parts,
        )
        if watch is not None:
            trainer.add_callback(watch)
        check_fits(trainer, options)
        # The losses are shares of their step's already: accumulation must not divide them again.
        trainer.model_accepts_loss_kwargs = True
        trainer.remove_callback(PrinterCallback)
        trainer.add_callback(MarkedCheckpoints(trainer))
        if last is not None:
            trainer.carry(last.carried)
        if trainer.is_deepspeed_enabled:
            trainer.add_callback(FiniteSteps(trainer.terms, lambda: gradient_norm(trainer)))
        else:
            trainer.add_callback(FiniteSteps(trainer.terms))
            trainer.add_callback(EveryWeightMoves())
        known = deepspeed_classes() if trainer.is_deepspeed_enabled else []
        with (
            full_disk_named(Path(folder)),
            data_alone(*known),
            _unprepared_afterwards(trainer),
            plain_afterwards(trainer),
            sharing(trainer),
        ):
            trainer.train(resume_from_checkpoint=None if last is None else str(last.folder))
        if watch is not None and trainer.state.best_model_checkpoint is None:
            raise watch.lacking()
        if watch is not None and not quiet and launching.rank() == 0:
            kept = f"the state of step {trainer.state.best_global_step} is kept"
            print(f"unlearn: {watch.reason}; {kept}", file=sys.stderr)
    return [entry for entry in trainer.state.log_history if "loss" in entry or SCORE in entry]


def _warn_of_lost_steps(model: PreTrainedModel, options: TrainOptions) -> None:
    """DeepSpeed keeps weights in float32 beside those in bfloat16, and adapters are in float32."""
    has_float32 = options.lora is not None or (options.deepspeed is not None and options.precision == "bf16")
    if model.dtype == torch.bfloat16 and not has_float32 and options.learning_rate < LOST and launching.rank() == 0:
        _LOG.warning(
            "the weights are in bfloat16, where steps of %g are rounded away on most of them; load them as float32 "
            "with precision=bf16, or train adapters (lora={}).",
            options.learning_rate,
        )


@contextmanager
def _unprepared_afterwards(trainer: Trainer) -> Iterator[None]:
    """Takes back what accelerate does to a model, which would go on computing in bfloat16, and in the next training."""
    model: Any = trainer.model
    own = vars(model).get("forward")
    try:
        yield
    finally:
        for name in ("forward", "_original_forward", "_is_accelerate_prepared"):
            vars(model).pop(name, None)
        if own is not None:
            model.forward = own


@contextmanager
def _work_folder(checkpoints: Checkpoints | None) -> Iterator[str]:
    """A folder that all processes have in common."""
    with ExitStack() as stack:
        folder = None if checkpoints is None else str(checkpoints.folder)
        if folder is None and launching.rank() == 0:
            folder = stack.enter_context(TemporaryDirectory())
        yield launching.agree(folder) or ""
        launching.agree(None)  # else the first would remove what others still read


def _arguments(
    options: TrainOptions, folder: str, *, quiet: bool, passes: float, rows: int, saves: bool, watches: bool
) -> TrainingArguments:
    on_cpu = not torch.accelerator.is_available()
    if "tensorboard" in options.report_to:
        os.environ.setdefault("TENSORBOARD_LOGGING_DIR", str(Path("logs") / time.strftime("%Y-%m-%d-%H%M%S")))
    watched = options.watch if watches else None
    arguments = TrainingArguments(
        output_dir=folder,
        num_train_epochs=passes,
        per_device_train_batch_size=rows,
        gradient_accumulation_steps=options.accumulation,
        learning_rate=options.learning_rate,
        lr_scheduler_type=options.schedule,
        warmup_steps=options.warmup,
        weight_decay=options.weight_decay,
        max_grad_norm=options.max_grad_norm,
        bf16=options.precision == "bf16",
        use_cpu=on_cpu,  # bf16 is refused where this is not said
        deepspeed=None if options.deepspeed is None else read_zero(options.deepspeed),
        accelerator_config={"use_configured_state": on_cpu and options.deepspeed is not None},
        ddp_find_unused_parameters=False,
        ddp_broadcast_buffers=False,
        optim="adamw_torch_fused",
        seed=options.seed,
        data_seed=options.seed,
        disable_tqdm=quiet,
        logging_steps=0.05,
        save_strategy="steps" if watched or (saves and options.save_every) else "no",
        save_steps=watched.every if watched else options.save_every or 1,
        save_total_limit=KEPT,
        eval_strategy="steps" if watched else "no",
        eval_steps=watched.every if watched else None,
        load_best_model_at_end=watched is not None,
        metric_for_best_model=SCORE if watched else None,
        greater_is_better=True if watched else None,
        report_to=list(options.report_to) or "none",
        remove_unused_columns=False,
        dataloader_pin_memory=False,
    )
    arguments._n_gpu = min(1, arguments.n_gpu)  # one process is one device: never torch's DataParallel
    return arguments
