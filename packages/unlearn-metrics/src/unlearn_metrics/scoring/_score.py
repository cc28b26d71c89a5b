"""Rows to the table of scores: one forward pass for each distinct question, image and answer."""

from collections.abc import Callable, Iterable, Iterator

import numpy as np
import pyarrow as pa
from transformers import PreTrainedModel

from unlearn_metrics.evidence import OPTIONAL_SCORES_SCHEMA, SCORES_SCHEMA
from unlearn_metrics.scoring._batches import AnswerBatch, answer_batches
from unlearn_metrics.scoring._encoding import Encoder, Processor
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._loading import context_of
from unlearn_metrics.scoring._memory import TokenBudget, keep_freed_memory, within_memory
from unlearn_metrics.scoring._requests import Answer, Row, requests
from unlearn_metrics.scoring._statistics import TokenScores

#: Called with what a batch has done: how many of what is counted, and how many tokens.
Report = Callable[[int, int], object]

#: What is measured of an answer, and where it stands among all of them.
MEASURED_SCHEMA = pa.schema([("number", pa.int64()), *(SCORES_SCHEMA.field(name) for name in TokenScores._fields)])
NORMS_SCHEMA = pa.schema([("number", pa.int64()), OPTIONAL_SCORES_SCHEMA.field("grad_norm")])


def score(
    model: PreTrainedModel,
    processor: Processor | Encoder,
    rows: Iterable[Row],
    *,
    set_name: str,
    token_budget: int | None = None,
    cut: bool = False,
    share_prompts: bool | None = None,
    report: Report = lambda done, tokens: None,
) -> pa.Table:
    """Score the answers of `rows`: one forward pass for each distinct question, image and answer.

    Args:
        model: Vision-language or language model; it is put in evaluation mode.
        processor: Its processor, tokenizer, or an `Encoder` of one, whose encoded prompts are used again.
        rows: With the columns of the rows' contract; `image` is a PIL image or None.
        set_name: Goes into the column `set`.
        token_budget: Tokens in a batch, padding included; None finds it. A batch that memory does not suffice for is
            halved, and so is the budget.
        cut: Whether an answer that leaves the model's context is cut there, instead of being refused.
        share_prompts: Whether a prompt is read once for all its answers, see `Forward`.
        report: Is called after every batch, see `Report`.

    Returns:
        Table of `SCORES_SCHEMA`, in the order of the rows.

    Raises:
        ValueError: If there are no rows, an answer is empty, or a row cannot be encoded; the message names the row.
        torch.OutOfMemoryError: If memory does not suffice for one answer; the message names the row.
    """
    budget = TokenBudget(token_budget, model.device)
    encoder = processor if isinstance(processor, Encoder) else Encoder(processor)
    asked = requests({set_name: list(rows)}, encoder, context=context_of(model), cut=cut)
    forward = Forward(model, encoder, share_prompts=share_prompts)
    measured = pa.concat_tables(score_answers(forward, asked.answers, budget, report))
    return asked.scores(measured.sort_by("number").drop_columns("number"))


def score_answers(
    forward: Forward, answers: Iterable[Answer], budget: TokenBudget, report: Report = lambda done, tokens: None
) -> Iterator[pa.Table]:
    """Score distinct answers batch by batch; yields tables of `MEASURED_SCHEMA`."""
    forward.model.eval()  # type: ignore[no-untyped-call]
    keep_freed_memory(forward.model.device)
    for planned in answer_batches(answers, budget):
        for batch, scores in within_memory(forward.score, planned, budget):
            done = batch.flat()
            report(len(done), sum(len(answer.ids) for answer in done))
            yield _measured([answer.number for answer in done], scores)


def _measured(numbers: list[int], scores: list[TokenScores]) -> pa.Table:
    """A table of `MEASURED_SCHEMA`."""
    ends = np.cumsum([0, *(len(each.tokens) for each in scores)], dtype=np.int32)
    columns = (pa.array(np.concatenate(column)) for column in zip(*scores, strict=True))
    # Arrow would take many times the memory for lists that it puts together by itself.
    return pa.table([numbers, *(pa.ListArray.from_arrays(ends, column) for column in columns)], schema=MEASURED_SCHEMA)


def gradient_norms(
    forward: Forward, answers: Iterable[Answer], budget: TokenBudget, report: Report = lambda done, tokens: None
) -> Iterator[pa.Table]:
    """Gradient norms of distinct answers, see `Forward.gradient_norm`; yields tables of `NORMS_SCHEMA`."""
    forward.model.eval()  # type: ignore[no-untyped-call]
    keep_freed_memory(forward.model.device)
    for answer in answers:
        for _, norm in within_memory(forward.gradient_norm, AnswerBatch([[answer]]), budget):
            report(1, len(answer.ids))
            yield pa.table([[answer.number], [norm]], schema=NORMS_SCHEMA)
