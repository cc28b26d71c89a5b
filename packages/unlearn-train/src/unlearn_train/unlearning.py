"""Unlearning on `transformers.Trainer`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedModel
from unlearn_core import Method, Transform

from unlearn_train import training
from unlearn_train.adapting import adapted
from unlearn_train.checkpoints import Checkpoints, describe_training
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import Processor
from unlearn_train.materials import make_material
from unlearn_train.models import context_length, place
from unlearn_train.other_answers import other_answers
from unlearn_train.pairs import PairCollator, Pairs, pair_order
from unlearn_train.reference import discard_states, make_reference
from unlearn_train.settings import TrainOptions
from unlearn_train.sharing import rows_each
from unlearn_train.trainers import UnlearnTrainer
from unlearn_train.training import Log
from unlearn_train.transforming import TransformedSteps
from unlearn_train.watching import make_watch


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
    cache: Path | None = None,
    resume: Path | None = None,
    holdout_rows: Sequence[Row] = (),
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
        cache: folder in which what the reference says of the rows is kept, for a run that goes on from here or begins
            with the same model and rows; by default it is kept in memory alone. Log-probabilities stay there, what is
            larger is removed when the run is done.
        resume: folder for checkpoints: where the same training was cut off with this folder before, it goes on. It is
            left to the caller, who removes it once the model is saved.
        holdout_rows: of the same kind, that the model never met: where `options.watch` names no level, what the model
            gives to their answers is it.
        quiet: show no progress.

    Returns:
        The log: loss, its two terms and the learning rate by step.

    Raises:
        ValueError: a set is empty, or a row cannot be encoded.
        FloatingPointError: a loss, a gradient or a weight is no longer finite; see `training.run` about the model then.
    """
    if not forget_rows or not retain_rows:
        raise ValueError(
            f"unlearning needs rows to forget and rows to keep, got {len(forget_rows)} and {len(retain_rows)}."
        )
    count = max(1, round(options.epochs * len(forget_rows)))
    rows_each(options.batch_size, count)
    place(model)
    checkpoints, digest = None, None
    if resume is not None:
        rows = {"forget": forget_rows, "retain": retain_rows, "holdout": holdout_rows}
        about = describe_training(model, processor, options, rows, (method, tuple(transforms), alternates))
        checkpoints, digest = Checkpoints(resume, about, quiet=quiet), about["model"]
    needs, collate, length = method.asks(), Collator(processor), context_length(model)
    forgotten, retained = (EncodedRows(processor, rows, max_length=length) for rows in (forget_rows, retain_rows))
    others = other_answers(needs, model, processor, forget_rows, retain_rows, seed=options.seed, alternates=alternates)
    order = pair_order(
        forgotten.rough_lengths(),
        retained.rough_lengths(),
        pairs=count,
        step=options.batch_size * options.accumulation,
        seed=options.seed,
    )
    sides = {"forget": forgotten, "retain": retained, **others}
    watch = make_watch(model, processor, forget_rows, retain_rows, options, holdout_rows=holdout_rows)
    reference, kept = make_reference(model, method, sides, order, collate, options, cache=cache, digest=digest)
    with adapted(model, options):
        log = training.run(
            UnlearnTrainer,
            options,
            quiet=quiet,
            checkpoints=checkpoints,
            watch=watch,
            passes=1,  # the pairs are those of all epochs
            method=method,
            reference=reference,
            lora_l1=options.lora_l1,
            transforms=TransformedSteps(
                transforms, model, make_material(model, processor, forget_rows, retain_rows, options), options
            )
            if transforms
            else None,
            model=model,
            train_dataset=Pairs(forgotten, retained, order, others=others, kept=kept),
            data_collator=PairCollator(collate),
        )
    if cache is not None:
        discard_states(cache)
    return log
