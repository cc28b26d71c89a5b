"""What the model answers when it is asked: the table of generations."""

from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa
from transformers import PreTrainedModel

from unlearn_metrics.evidence import GENERATIONS_SCHEMA
from unlearn_metrics.scoring._batches import Reply, reply_batches
from unlearn_metrics.scoring._decoding import Decoder, Sampling
from unlearn_metrics.scoring._encoding import Encoder, Processor
from unlearn_metrics.scoring._features import ImageFeatures
from unlearn_metrics.scoring._loading import context_of
from unlearn_metrics.scoring._memory import START_GENERATING, TokenBudget, keep_freed_memory, within_memory
from unlearn_metrics.scoring._requests import Question, Row, requests
from unlearn_metrics.scoring._score import Report
from unlearn_metrics.scoring._vllm import VLLM

#: What the model answered to a question, and where it stands among all of them.
ANSWERED_SCHEMA = pa.schema([("number", pa.int64()), GENERATIONS_SCHEMA.field("generated")])


def generate(
    model: PreTrainedModel | VLLM,
    processor: Processor | Encoder,
    rows: Iterable[Row],
    *,
    set_name: str,
    max_new_tokens: int = 48,
    sampling: Sampling | None = None,
    token_budget: int | None = None,
    report: Report = lambda done, tokens: None,
) -> pa.Table:
    """Let the model answer the questions of `rows`; rows of multiple choice are left out.

    Greedy means the most probable token each time: what the model's generation config says of sampling, beams and
    penalties does not count. An answer stops at the end token of its template or at those of the generation config.

    Args:
        model: Vision-language or language model, which is put in evaluation mode; or a model in vLLM.
        processor: Its processor, tokenizer, or an `Encoder` of one, whose encoded prompts are used again.
        rows: With the columns of the rows' contract; `image` is a PIL image or None.
        set_name: Goes into the column `set`.
        max_new_tokens: Where an answer is cut that does not end by itself.
        sampling: How answers are drawn, and how many; one, greedily, where None.
        token_budget: Tokens in a batch, answers of full length included; None finds it. vLLM has its own.
        report: Is called after every batch, see `Report`.

    Returns:
        Table of `GENERATIONS_SCHEMA`, in the order of the rows; `generated` is without surrounding whitespace.

    Raises:
        ValueError: If there are no rows, an option is not positive, or a row cannot be encoded.
        torch.OutOfMemoryError: If memory does not suffice for one question; the message names the row.
    """
    check_length(max_new_tokens)
    encoder = processor if isinstance(processor, Encoder) else Encoder(processor)
    samples = sampling.samples if sampling else 1
    context = None if isinstance(model, VLLM) else context_of(model)
    asked = requests({set_name: list(rows)}, encoder, context=context, samples=samples, scored=False)
    if isinstance(model, VLLM):
        tables = answers_of_vllm(model, encoder, asked.questions, max_new_tokens, sampling, report)
    else:
        decoder = Decoder(
            model, ImageFeatures(model, encoder), max_new_tokens=max_new_tokens, context=context, sampling=sampling
        )
        budget = TokenBudget(token_budget, model.device, START_GENERATING)
        tables = answer_questions(decoder, encoder, asked.questions, budget, report)
    answered = pa.concat_tables([ANSWERED_SCHEMA.empty_table(), *tables])
    return asked.generations(answered.sort_by("number").drop_columns("number"))


def answer_questions(
    decoder: Decoder,
    encoder: Encoder,
    questions: Iterable[Question],
    budget: TokenBudget,
    report: Report = lambda done, tokens: None,
) -> Iterator[pa.Table]:
    """Answer distinct questions batch by batch; yields tables of `ANSWERED_SCHEMA`.

    Most answers are short and a few are long: these go on together, once all the short ones are there.
    """
    decoder.model.eval()  # type: ignore[no-untyped-call]
    keep_freed_memory(decoder.model.device)
    left = [Reply(question) for question in questions]
    for until in decoder.rounds():
        going_on: list[Reply] = []
        for planned in reply_batches(left, budget, until):
            for _, found in within_memory(decoder, planned, budget):
                going_on += [reply for reply, has_ended in found if not has_ended]
                if done := [reply for reply, has_ended in found if has_ended]:
                    yield _answered(encoder, done, report)
        left = going_on


def answers_of_vllm(
    model: VLLM,
    encoder: Encoder,
    questions: list[Question],
    max_new_tokens: int,
    sampling: Sampling | None,
    report: Report = lambda done, tokens: None,
) -> Iterator[pa.Table]:
    """Answer distinct questions with vLLM, which batches by itself; yields tables of `ANSWERED_SCHEMA`."""
    if questions:
        ids = model.continuations(encoder, questions, max_new_tokens, sampling)
        replies = [Reply(question, tuple(said)) for question, said in zip(questions, ids, strict=True)]
        yield _answered(encoder, replies, report)


def _answered(encoder: Encoder, replies: Sequence[Reply], report: Report) -> pa.Table:
    report(len(replies), sum(len(reply.ids) for reply in replies))
    texts = encoder.tokenizer.batch_decode([list(reply.ids) for reply in replies], skip_special_tokens=True)
    columns = [[reply.question.number for reply in replies], [text.strip() for text in texts]]
    return pa.table(columns, schema=ANSWERED_SCHEMA)


def check_length(max_new_tokens: int) -> None:
    """Refuse answers of no tokens."""
    if max_new_tokens < 1:
        raise ValueError(f"`max_new_tokens` must be positive, got {max_new_tokens}.")
