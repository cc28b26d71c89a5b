"""What rows ask of a model: each distinct answer and each distinct question once, and how the rows get them back."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, NamedTuple

import pyarrow as pa

from unlearn_metrics.evidence import GENERATIONS_SCHEMA, OPTIONAL_SCORES_SCHEMA, SCORES_SCHEMA
from unlearn_metrics.scoring._encoding import Encoder, Prompt

Row = Mapping[str, Any]

# Rows whose answers are tokenized at once: enough to keep many cores busy.
_TOGETHER = 256


@dataclass(frozen=True)
class Candidate:
    """An answer of a row that is to be scored."""

    kind: str
    """`answer`, `paraphrase` or `perturbed`"""
    index: int
    """which of the perturbed answers; 0 otherwise"""
    text: str


class Entry(NamedTuple):
    """A row of a table, as far as it does not come from the model."""

    set_name: str
    row: Row
    more: Mapping[str, Any]
    """kind, index and text of an answer, or the number of the sample"""

    def record(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the columns of these names."""
        modality = "text" if self.row["image"] is None else "image"
        known = {"set": self.set_name, "modality": modality, **self.more}
        return {name: known[name] if name in known else self.row[name] for name in names}


class Answer(NamedTuple):
    """A distinct answer to a distinct prompt."""

    number: int
    """its place among all that are scored"""
    prompt: Prompt
    ids: list[int]
    """the answer tokens, end token included unless it was cut off"""
    row: str
    """id of the first row that has it"""


class Question(NamedTuple):
    """A distinct prompt that the model is to answer, the n-th time."""

    number: int
    """its place among all that are answered"""
    prompt: Prompt
    sample: int
    row: str
    """id of the first row that asks it"""


@dataclass
class Requests:
    """What the rows of some sets ask.

    Attributes:
        answers: To be scored.
        questions: To be answered; none of multiple choice.
        right: Numbers of those answers that are the right ones of a row.
        cut: Ids of the rows that have an answer that was cut to the model's context.
        scored: What the table of scores has entries for, each with the number of its answer.
        asked: What the table of generations has entries for, each with the number of its question.
    """

    answers: list[Answer] = field(default_factory=list)
    questions: list[Question] = field(default_factory=list)
    right: set[int] = field(default_factory=set)
    cut: list[str] = field(default_factory=list)
    scored: list[tuple[Entry, int]] = field(default_factory=list, repr=False)
    asked: list[tuple[Entry, int]] = field(default_factory=list, repr=False)

    def scores(self, measured: pa.Table) -> pa.Table:
        """The table of scores, in the order of sets and rows, from a table with one row for each of `answers`."""
        schema = [*SCORES_SCHEMA, *(each for each in OPTIONAL_SCORES_SCHEMA if each.name in measured.column_names)]
        return _joined(self.scored, measured, pa.schema(schema))

    def generations(self, generated: pa.Table) -> pa.Table:
        """The table of generations, from a table with one row for each of `questions`."""
        return _joined(self.asked, generated, GENERATIONS_SCHEMA)


def requests(
    sets: Mapping[str, Sequence[Row]],
    encoder: Encoder,
    *,
    context: int | None,
    cut: bool = False,
    samples: int = 1,
    scored: bool = True,
) -> Requests:
    """Return what the rows of `sets` ask.

    Args:
        sets: Rows with the columns of the rows' contract by name of the set.
        encoder: Encodes them.
        context: How many tokens the model can read; None where that is not limited.
        cut: Whether an answer that leaves the context is cut, instead of being refused.
        samples: How many answers are generated for each question.
        scored: Whether answers are scored, or questions asked alone.

    Raises:
        ValueError: If there are no rows, an answer is empty, or a row cannot be encoded or is too long; the message
            names set and row.
    """
    if not sets:
        raise ValueError("there is no set to measure. Name at least one.")
    builder = _Builder(encoder, context, cut, samples, scored)
    for name, rows in sets.items():
        if not rows:
            raise ValueError(f"set `{name}` has no rows, so there is nothing to measure. Leave it out, or fill it.")
        for start in range(0, len(rows), _TOGETHER):
            builder.add(name, rows[start : start + _TOGETHER])
    return builder.made


class _Builder:
    def __init__(self, encoder: Encoder, context: int | None, cut: bool, samples: int, scored: bool) -> None:
        self.made = Requests()
        self._encoder, self._context, self._cut, self._samples, self._scored = encoder, context, cut, samples, scored
        self._known: dict[Prompt, dict[str, int]] = {}
        self._asked: dict[Prompt, int] = {}

    def add(self, set_name: str, rows: Sequence[Row]) -> None:
        """Add rows of a set, whose answers are encoded together."""
        asked: list[tuple[Prompt, list[str]]] = []
        for row in rows:
            with _named(set_name, row):
                prompt = self._encoder.prompt(row["question"], row["image"])
                known = self._known.setdefault(prompt, {})
                texts = dict.fromkeys(each.text for each in candidates(row)) if self._scored else {}
                if odd := [text for text in texts if not isinstance(text, str)]:
                    raise ValueError(f"an answer is no text, got {odd[0]!r}. Give every row answers in words.")
                asked.append((prompt, [text for text in texts if text not in known]))
        encoded = self._encoder.answers_to(asked)
        for row, (prompt, new) in zip(rows, asked, strict=True):
            with _named(set_name, row):
                self._encode(row["id"], prompt, dict(zip(new, next(encoded), strict=True)))
                if self._scored:
                    self._score(set_name, row, prompt)
                if row["task"] != "mcq":
                    self._ask(set_name, row, prompt)

    def _score(self, set_name: str, row: Row, prompt: Prompt) -> None:
        found, known = candidates(row), self._known[prompt]
        self.made.right.add(known[found[0].text])
        self.made.scored.extend((Entry(set_name, row, vars(each)), known[each.text]) for each in found)

    def _ask(self, set_name: str, row: Row, prompt: Prompt) -> None:
        if prompt not in self._asked:
            self._fitting(row["id"], prompt, [prompt.end])
            self._asked[prompt] = len(self.made.questions)
            new = (Question(self._asked[prompt] + n, prompt, n, row["id"]) for n in range(self._samples))
            self.made.questions.extend(new)
        samples = ((Entry(set_name, row, {"sample": n}), self._asked[prompt] + n) for n in range(self._samples))
        self.made.asked.extend(samples)

    def _encode(self, row: str, prompt: Prompt, encoded: Mapping[str, list[int]]) -> None:
        known = self._known[prompt]
        for text, ids in encoded.items():
            if text not in known:
                fitting = self._fitting(row, prompt, ids)
                known[text] = len(self.made.answers)
                self.made.answers.append(Answer(len(self.made.answers), prompt, fitting, row))

    def _fitting(self, row: str, prompt: Prompt, ids: list[int]) -> list[int]:
        # The last token predicts nothing, so the model need not read it.
        room = len(ids) if self._context is None else self._context - len(prompt.ids) + 1
        if len(ids) <= room:
            return ids
        if not self._cut or room < 1:
            remedy = "Ask for it to be cut (`cut`, `--cut`)" if room > 0 else "Shorten the question"
            raise ValueError(
                f"its question of {len(prompt.ids):,} tokens and an answer of {len(ids):,} exceed the model's context "
                f"of {self._context:,}. {remedy}, or leave the row out."
            )
        if row not in self.made.cut[-1:]:
            self.made.cut.append(row)
        return ids[:room]


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
        raise ValueError(f"the options must hold the answer {row['answer']!r} once, got {options}.")
    wrong = [text for text in options if text != row["answer"]]
    return [Candidate("answer", 0, row["answer"]), *(Candidate("perturbed", n, text) for n, text in enumerate(wrong))]


@contextmanager
def _named(set_name: str, row: Row) -> Iterator[None]:
    """Errors that name set and row."""
    try:
        yield
    except KeyError as error:
        known = ", ".join(row)
        raise ValueError(f"set `{set_name}`: row {row.get('id')!r} lacks the column {error}. It has {known}.") from None
    except ValueError as error:
        raise ValueError(f"set `{set_name}`: row {row['id']}: {error}") from error


def _joined(entries: list[tuple[Entry, int]], found: pa.Table, schema: pa.Schema) -> pa.Table:
    """Entries, each with the row of `found` that it points at."""
    own = pa.schema([each for each in schema if each.name not in found.column_names])
    records = (entry.record(own.names) for entry, _ in entries)
    parts = [pa.Table.from_pylist(part, schema=own) for part in iter(lambda: list(islice(records, 4096)), [])]
    table = pa.concat_tables(parts) if parts else own.empty_table()
    taken = found.take(pa.array([number for _, number in entries], pa.int64()))
    columns = {name: (taken if name in found.column_names else table)[name] for name in schema.names}
    return pa.table(columns, schema=schema)
