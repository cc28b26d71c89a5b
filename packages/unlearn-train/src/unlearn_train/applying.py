"""Unlearning by a method of any kind: a loss with its transforms, a weight edit, or a guard."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple

from torch.nn import Module
from transformers import PreTrainedModel
from unlearn_core import SKU, Edit, Guard, Kept, Method, TaskArithmetic, Transform

from unlearn_train import unlearning
from unlearn_train.data import Row
from unlearn_train.encoding import Processor
from unlearn_train.guarding import attach, save_guarded
from unlearn_train.materials import make_material
from unlearn_train.models import save_model
from unlearn_train.settings import TrainOptions
from unlearn_train.training import Log


class Unlearned(NamedTuple):
    """What came of an unlearning, beside the model itself."""

    log: Log
    """loss, terms and learning rate by step; empty where nothing was trained"""
    guard: tuple[Guard, Kept] | None = None
    """what is around the model, and what it keeps"""

    def save(self, model: PreTrainedModel, processor: Processor, folder: Path) -> None:
        """Save the model, and what is around it: a plain Hugging Face folder, or one that `load_model` reads as well.

        Args:
            model: that was unlearned.
            processor: likewise.
            folder: where to.
        """
        if self.guard is None:
            save_model(model, processor, folder)
        else:
            save_guarded(model, processor, *self.guard, folder)


def unlearn(
    model: PreTrainedModel,
    processor: Processor,
    method: Method | Edit | Guard,
    forget_rows: Sequence[Row],
    retain_rows: Sequence[Row],
    options: TrainOptions,
    *,
    transforms: Sequence[Transform] = (),
    alternates: Mapping[str, str] | None = None,
    resume: Path | None = None,
    holdout_rows: Sequence[Row] = (),
    quiet: bool = False,
) -> Unlearned:
    """Make `model` forget `forget_rows` and keep `retain_rows` with a method of any kind, in place.

    A guard leaves the weights as they are: it is put around the model, or its examples into the processor's template.

    Args:
        model: the target.
        processor: of the model.
        method: a loss method, a weight edit or a guard of `unlearn_core.CATALOGUE`. Of SKU, both stages are run, as an
            edit.
        forget_rows: what the model must no longer know.
        retain_rows: what it must still know.
        options: of the training, be it of the model, of a copy or of an assistant.
        transforms: what a loss's gradients go through.
        alternates: other plausible answers by row id.
        resume: folder for checkpoints and for what the reference said: where the same unlearning was cut off with this
            folder before, it goes on. It is left to the caller, who removes it once the model is saved.
        holdout_rows: of the same kind, that the model never met; what it gives to their answers ends the unlearning of
            a loss method that is watched.
        quiet: show no progress.

    Raises:
        TypeError: `method` is of no kind that can be applied, such as a transform.
        ValueError: a set is empty, a row cannot be encoded, or the method does not fit the model or the transforms.
        FloatingPointError: a loss, a gradient or a weight is no longer finite; the model keeps its last good weights.
    """
    if isinstance(method, SKU):
        method = TaskArithmetic(learn=method)  # by itself, its loss learns what is to be forgotten
    _check(method, transforms, forget_rows, retain_rows)
    forget = partial(
        unlearning.forget,
        processor=processor,
        forget_rows=forget_rows,
        retain_rows=retain_rows,
        options=options,
        alternates=alternates,
        cache=None if resume is None else resume / "reference",
        quiet=quiet,
    )
    # An edit may train several times, each time with checkpoints of its own.
    folders = (None if resume is None else resume / f"checkpoints{n}" for n in count(1))
    if isinstance(method, Method):
        how: dict[str, Any] = {"transforms": transforms, "holdout_rows": holdout_rows, "resume": next(folders)}
        return Unlearned(forget(model, method=method, **how))
    log: Log = []

    def train(trained: Module, loss: Method) -> None:
        # What is made from the weights reads the weights themselves: no adapter may stay beside them.
        # Watched is what unlearns, not what an edit or a guard is made from.
        merged = replace(options, lora=options.lora and replace(options.lora, merge=True), watch=None)
        log.extend(forget(trained, method=loss, options=merged, resume=next(folders)))  # type: ignore[arg-type]  # a copy is a model like it

    material = make_material(model, processor, forget_rows, retain_rows, options, train=train)
    if isinstance(method, Edit):
        method.apply(model, material)
        return Unlearned(log)
    kept = method.make(model, material)
    attach(model, processor, method, kept)
    return Unlearned(log, (method, kept))


def _check(
    method: object, transforms: Sequence[Transform], forget_rows: Sequence[Row], retain_rows: Sequence[Row]
) -> None:
    if isinstance(method, Transform):
        raise TypeError(f"{method} is a gradient transform: choose a loss method, and give this among `transforms`.")
    if not isinstance(method, Method | Edit | Guard):
        raise TypeError(f"`method` must be a loss method, a weight edit or a guard, got {method!r}.")
    if transforms and not isinstance(method, Method):
        raise ValueError(f"{method} has no gradients that {transforms[0]} could transform; choose a loss method.")
    if not forget_rows or not retain_rows:
        raise ValueError(
            f"unlearning needs rows to forget and rows to keep, got {len(forget_rows)} and {len(retain_rows)}."
        )
