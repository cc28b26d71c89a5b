"""What transforms, edits and guards are made from: the rows in batches, and what surrounds a question."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import takewhile

import torch
from torch.nn import Module
from transformers import PreTrainedModel
from unlearn_core import Batch, Exchange, Material, Method
from unlearn_core.material import Rows

from unlearn_train.answers import answers_alone
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.data import Row
from unlearn_train.encoding import Processor, render, tokenize
from unlearn_train.models import context_length
from unlearn_train.refusals import refusal_for
from unlearn_train.settings import TrainOptions

Train = Callable[[Module, Method], None]


def make_material(
    model: PreTrainedModel,
    processor: Processor,
    forget_rows: Sequence[Row],
    retain_rows: Sequence[Row],
    options: TrainOptions,
    *,
    train: Train | None = None,
) -> Material:
    """Return what a transform, an edit or a guard may look at: every row to forget, and as many to keep.

    Args:
        model: whose device and context the rows are for.
        processor: of the model.
        forget_rows: what is to be forgotten.
        retain_rows: what is to be kept; of each modality, at most as many are chosen as there are rows to forget.
        options: whose batch size and seed count.
        train: trains a model in place.
    """
    chosen = _fewer(retain_rows, len(forget_rows), seed=options.seed)
    batches = partial(_batches, model, processor, options.batch_size)
    return Material(
        forget={modality: batches(rows) for modality, rows in _by_modality(forget_rows).items()},
        retain={modality: batches(rows) for modality, rows in _by_modality(chosen).items()},
        exchanges={
            "retain": [Exchange(row["question"], row["answer"]) for row in _readable(chosen)],
            "refused": [Exchange(row["question"], refusal_for(row["id"])) for row in _readable(forget_rows)],
        },
        frame=prompt_frame(processor),
        **({} if train is None else {"train": train}),
    )


def prompt_frame(processor: Processor) -> tuple[list[int], list[int]]:
    """Return the tokens that begin and that end every prompt: those that two unlike questions have in common."""
    first, second = (
        tokenize(processor, render(processor, question, "x", has_image=False)[0], None)["input_ids"][0].tolist()
        for question in ("a b c.", "1 2 3")
    )
    return _common(first, second), _common(first[::-1], second[::-1])[::-1]


def _common(first: list[int], second: list[int]) -> list[int]:
    """What both begin with."""
    return [one for one, _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, second, strict=False))]


def _by_modality(rows: Sequence[Row]) -> dict[str, list[Row]]:
    sides: dict[str, list[Row]] = {}
    for row in rows:
        sides.setdefault("text" if row["image"] is None else "image", []).append(row)
    return sides


def _fewer(rows: Sequence[Row], count: int, *, seed: int) -> list[Row]:
    """At most `count` rows of each modality, in their order."""
    order = torch.Generator().manual_seed(seed)
    return [
        side[n]
        for side in _by_modality(rows).values()
        for n in sorted(torch.randperm(len(side), generator=order)[:count].tolist())
    ]


def _readable(rows: Sequence[Row]) -> Sequence[Row]:
    """The rows without an image, for what can be shown in words alone; all, where every row has one."""
    return [row for row in rows if row["image"] is None] or rows


def _batches(model: PreTrainedModel, processor: Processor, usual: int, rows: Sequence[Row]) -> Rows:
    encoded, collate = EncodedRows(processor, rows, max_length=context_length(model)), Collator(processor)

    def batches(size: int | None) -> Iterator[Batch]:
        size = size or usual
        for start in range(0, len(encoded), size):
            batch = collate([encoded[n] for n in range(start, min(start + size, len(encoded)))])
            yield answers_alone({name: value.to(model.device) for name, value in batch.items()})

    return batches
