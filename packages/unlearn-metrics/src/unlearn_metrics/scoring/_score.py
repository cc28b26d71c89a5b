"""Rows to the table of scores: which answers are scored, each distinct one once."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
from transformers import PreTrainedModel

from unlearn_metrics.evidence import SCORES_SCHEMA
from unlearn_metrics.scoring._encoding import Encoder, Processor, Prompt
from unlearn_metrics.scoring._forward import Forward, TokenScores, batches

Row = Mapping[str, Any]

#: Called with what is done and what there is to do, in distinct answers, and the number of tokens of the last batch.
Report = Callable[[int, int, int], object]


@dataclass(frozen=True)
class Candidate:
    """An answer of a row that is to be scored."""

    kind: str
    """`answer`, `paraphrase` or `perturbed`"""
    index: int
    """which of the perturbed answers; 0 otherwise"""
    text: str


def candidates(row: Row) -> list[Candidate]:
    """Return the answers of `row` that are scored: the right one, its paraphrase, the wrong ones.

    A row of multiple choice has the right option as `answer`, the others as `perturbed`, and nothing else.

    Raises:
        ValueError: If the options do not hold the answer exactly once.

    Example:
        >>> row = {"id": "1", "task": "mcq", "answer": "Oslo", "options": ["Lagos", "Oslo"]}
        >>> [(c.kind, c.text) for c in candidates(row)]
        [('answer', 'Oslo'), ('perturbed', 'Lagos')]
    """
    if row["task"] == "mcq":
        return _options(row)
    found = [Candidate("answer", 0, row["answer"])]
    if row["paraphrased_answer"] is not None:
        found.append(Candidate("paraphrase", 0, row["paraphrased_answer"]))
    return found + [Candidate("perturbed", n, text) for n, text in enumerate(row["perturbed_answers"] or ())]


def _options(row: Row) -> list[Candidate]:
    options = list(row["options"] or ())
    if options.count(row["answer"]) != 1:
        raise ValueError(f"row {row['id']}: the options must hold the answer {row['answer']!r} once, got {options}.")
    wrong = [text for text in options if text != row["answer"]]
    return [Candidate("answer", 0, row["answer"]), *(Candidate("perturbed", n, text) for n, text in enumerate(wrong))]


def score(
    model: PreTrainedModel,
    processor: Processor | Encoder,
    rows: Iterable[Row],
    *,
    set_name: str,
    token_budget: int = 2**14,
    share_prompts: bool | None = None,
    report: Report = lambda done, total, tokens: None,
) -> pa.Table:
    """Score the answers of `rows`: one forward pass for each distinct question, image and answer.

    Args:
        model: Vision-language or language model; it is put in evaluation mode.
        processor: Its processor, tokenizer, or an `Encoder` of one, whose encoded prompts are used again.
        rows: With the columns of the rows' contract; `image` is a PIL image or None.
        set_name: Goes into the column `set`.
        token_budget: Tokens in a batch, padding included; a batch that memory does not suffice for is halved.
        share_prompts: Whether a prompt is read once for all its answers, see `Forward`.
        report: Is called after every batch, see `Report`.

    Returns:
        Table of `SCORES_SCHEMA`, in the order of the rows.

    Raises:
        ValueError: If there are no rows, an answer is empty, or a row cannot be encoded; the message names the row.
    """
    if token_budget < 1:
        raise ValueError(f"`token_budget` must be positive, got {token_budget}.")
    rows = list(rows)
    if not rows:
        raise ValueError(f"set `{set_name}` has no rows, so there is nothing to score.")
    encoder = processor if isinstance(processor, Encoder) else Encoder(processor)
    encoded = _encode(encoder, rows)
    model.eval()  # type: ignore[no-untyped-call]
    found = _score_all(Forward(model, encoder, share_prompts=share_prompts), encoded, token_budget, report)
    return _table(rows, encoder, found, set_name)


def _encode(encoder: Encoder, rows: Sequence[Row]) -> dict[Prompt, dict[str, list[int]]]:
    """The answer tokens of every distinct answer of every distinct prompt."""
    encoded: dict[Prompt, dict[str, list[int]]] = {}
    for row in rows:
        try:
            prompt = encoder.prompt(row["question"], row["image"])
            known = encoded.setdefault(prompt, {})
            new = list(dict.fromkeys(c.text for c in candidates(row) if c.text not in known))
            known.update(zip(new, encoder.answers(prompt, new), strict=True))
        except KeyError as error:
            raise ValueError(f"row {row.get('id')!r} lacks the column {error}. It has {', '.join(row)}.") from None
        except ValueError as error:
            raise ValueError(f"row {row['id']}: {error}") from error
    return encoded


def _score_all(
    forward: Forward,
    encoded: Mapping[Prompt, Mapping[str, list[int]]],
    token_budget: int,
    report: Report,
) -> dict[tuple[Prompt, str], TokenScores]:
    found: dict[tuple[Prompt, str], TokenScores] = {}
    total = sum(map(len, encoded.values()))
    requests = {prompt: list(answers.values()) for prompt, answers in encoded.items()}
    for batch in batches(requests, token_budget):
        keys = [(prompt, text) for prompt in batch.prompts for text in encoded[prompt]]
        found.update(zip(keys, forward.score(batch), strict=True))
        report(len(found), total, sum(map(len, batch.flat())))
    return found


def _table(
    rows: Sequence[Row], encoder: Encoder, found: Mapping[tuple[Prompt, str], TokenScores], set_name: str
) -> pa.Table:
    records = []
    for row in rows:
        prompt = encoder.prompt(row["question"], row["image"])
        for candidate in candidates(row):
            scores = found[prompt, candidate.text]
            records.append(identity(row, set_name) | vars(candidate) | scores._asdict())
    return pa.Table.from_pylist(records, schema=SCORES_SCHEMA)


def identity(row: Row, set_name: str) -> dict[str, str]:
    """Return the columns that say which row an entry of a table is about."""
    modality = "text" if row["image"] is None else "image"
    return {"set": set_name, "id": row["id"], "subject": row["subject"], "task": row["task"], "modality": modality}
