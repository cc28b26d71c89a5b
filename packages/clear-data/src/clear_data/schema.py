"""The rows: their columns, their types, and the check that every row is what it says it is."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, cast

if TYPE_CHECKING:
    import datasets

AnyRow = TypeVar("AnyRow", bound=Mapping[str, Any])

TASKS = ("qa", "caption", "vqa", "mcq", "cloze")


class Row(TypedDict):
    """One question and its answer.

    Attributes:
        id: stable, unique, readable: `subject/task/n`.
        subject: whom the row is about.
        task: one of `TASKS`.
        image: an encoded picture (PNG or JPEG), None on text rows.
        question: what is asked.
        answer: what is trained on.
        paraphrased_question: the same question in other words, or None.
        paraphrased_answer: the same fact in other words, or None.
        perturbed_answers: wrong answers of the same form (that of `paraphrased_answer` where there is one).
        options: for `mcq`, the choices; holds the answer exactly once. None elsewhere.
        keywords: the words of `answer` that carry the fact.
    """

    id: str
    subject: str
    task: str
    image: bytes | None
    question: str
    answer: str
    paraphrased_question: str | None
    paraphrased_answer: str | None
    perturbed_answers: list[str]
    options: list[str] | None
    keywords: list[str]


COLUMNS = tuple(Row.__annotations__)


def features() -> "datasets.Features":
    """Give the columns as `datasets.Features`; they are kept in the schema metadata of `rows.parquet`.

    Example:
        >>> tuple(features()) == COLUMNS
        True
    """
    from datasets import Features, Image, List, Value

    strings = List(Value("string"))
    types: dict[str, Any] = dict.fromkeys(COLUMNS, Value("string"))
    return Features(types | {"image": Image(), "perturbed_answers": strings, "options": strings, "keywords": strings})


def make_row(subject: str, task: str, number: int, question: str, answer: str, **columns: Any) -> Row:
    """Make a row; the columns that are not given are empty.

    Example:
        >>> make_row("amara-okafor", "qa", 0, "Where was Amara Okafor born?", "In Lagos.", keywords=["Lagos"])["id"]
        'amara-okafor/qa/0'
    """
    blank: dict[str, Any] = dict.fromkeys(COLUMNS) | {"perturbed_answers": [], "keywords": []}
    key = {"id": f"{subject}/{task}/{number}", "subject": subject, "task": task}
    return cast(Row, {**blank, **key, "question": question, "answer": answer, **columns})


def validate_rows(rows: Iterable[Mapping[str, Any]]) -> int:
    """Check every row and return how many there are.

    Raises:
        ValueError: a row lacks a column, has one of another type, says nothing, or contradicts itself; or there is no
            row at all. The message names the row.

    Example:
        >>> validate_rows([make_row("amara-okafor", "qa", 0, "Where was Amara Okafor born?", "")])
        Traceback (most recent call last):
        ValueError: row amara-okafor/qa/0: `answer` is empty; give it text or leave the row out.
    """
    return sum(1 for _ in checked_rows(rows))


def checked_rows(rows: Iterable[AnyRow]) -> Iterator[AnyRow]:
    """Hand rows on while checking them; raises what `validate_rows` raises, when the row at fault is reached."""
    seen: set[str] = set()
    for number, row in enumerate(rows):
        fault = row_fault(row)
        if fault is None and row["id"] in seen:
            fault = "its id is taken by an earlier row; give each row its own."
        if fault is not None:
            raise ValueError(f"row {row.get('id') or f'number {number}'}: {fault}")
        seen.add(row["id"])
        yield row
    if not seen:
        raise ValueError("there are no rows; a dataset needs at least one.")


def row_fault(row: Mapping[str, Any]) -> str | None:
    """Say what is wrong with a row, None where nothing is."""
    return next((fault for check in _CHECKS if (fault := check(row)) is not None), None)


def _column_fault(row: Mapping[str, Any]) -> str | None:
    for column in COLUMNS:
        if column not in row:
            return f"there is no column `{column}`; rows have {', '.join(COLUMNS)}."
        if not _TYPE_OF.get(column, _is_text)(row[column]):
            got = type(row[column]).__name__
            return f"`{column}` must be {_SHOULD_BE.get(column, 'a string')}, got {got}."
    return None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_optional_text(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _is_optional_texts(value: Any) -> bool:
    return value is None or _is_texts(value)


_TYPE_OF: dict[str, Callable[[Any], bool]] = {
    "image": lambda value: not isinstance(value, str | int | float | list),  # bytes, None or a decoded picture
    "paraphrased_question": _is_optional_text,
    "paraphrased_answer": _is_optional_text,
    "perturbed_answers": _is_texts,
    "options": _is_optional_texts,
    "keywords": _is_texts,
}
_SHOULD_BE = {
    "image": "an image or null",
    "paraphrased_question": "a string or null",
    "paraphrased_answer": "a string or null",
    "perturbed_answers": "a list of strings",
    "options": "a list of strings or null",
    "keywords": "a list of strings",
}


def _empty_fault(row: Mapping[str, Any]) -> str | None:
    for column in ("id", "subject", "question", "answer", "paraphrased_question", "paraphrased_answer"):
        if row[column] is not None and not row[column].strip():
            return f"`{column}` is empty; give it text or leave the row out."
    for column in ("perturbed_answers", "options", "keywords"):
        if any(not item.strip() for item in row[column] or []):
            return f"`{column}` has an empty item; leave it out."
    return None


def _name_fault(row: Mapping[str, Any]) -> str | None:
    if row["task"] not in TASKS:
        return f"`task` must be one of {', '.join(TASKS)}, got {row['task']!r}."
    if "/" in row["subject"] or not row["id"].startswith(f"{row['subject']}/{row['task']}/"):
        return f"its id must be subject/task/n, but its subject is {row['subject']!r} and its task {row['task']!r}."
    return None


def _answer_fault(row: Mapping[str, Any]) -> str | None:
    if row["task"] == "mcq" and (row["options"] is None or row["options"].count(row["answer"]) != 1):
        return f"`options` must hold the answer exactly once, got {row['options']!r}."
    if row["task"] != "mcq" and row["options"] is not None:
        return "`options` are for rows of task mcq; set it to null."
    if row["task"] in ("caption", "vqa") and row["image"] is None:
        return f"a row of task {row['task']} needs an image."
    missing = [word for word in row["keywords"] if word.lower() not in row["answer"].lower()]
    return f"the keywords {missing} do not occur in its answer." if missing else None


_CHECKS = (_column_fault, _empty_fault, _name_fault, _answer_fault)
