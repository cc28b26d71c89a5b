"""Reads TOFU (fictitious authors, text) into the columns of this package."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clear_data.schema import Row, make_row
from clear_data.splits import PERCENTS
from clear_data.table import save

ROWS_AN_AUTHOR = 20
SPLITS = tuple(name for percent in PERCENTS for name in (f"forget{percent:02}", f"retain{100 - percent}"))
PERTURBED = (*(f"forget{percent:02}_perturbed" for percent in PERCENTS), "retain_perturbed")
REAL = ("real_authors", "world_facts")


class Tofu(NamedTuple):
    """TOFU in the columns of this package.

    Attributes:
        rows: those of `full` in their order, then the real authors and the world facts.
        sets: name of a set to its subjects.
        notes: what is odd in the data.
    """

    rows: list[Row]
    sets: dict[str, list[str]]
    notes: list[str]

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write a dataset folder."""
        save(folder, self.rows, self.sets, overwrite=overwrite)


class _Line(NamedTuple):
    """A row of TOFU and where it stands, for messages."""

    where: str
    content: Mapping[str, Any]


def read_tofu(source: str | Path) -> Tofu:
    """Read TOFU.

    A subject is an author: 20 rows of `full` in a row, `author-000` and on. Paraphrases and wrong answers come from the
    `*_perturbed` files, for the rows that have them. TOFU names no keywords and its answers are long, so
    `keywords` is empty: none could be derived that carry the fact and nothing else.

    Args:
        source: a folder of JSON lines (`full.jsonl`, `forget10.jsonl`, …; `.json` will do), or the name of a dataset on
            the Hugging Face hub, such as `locuslab/TOFU`, whose configurations have the names of these files.

    Raises:
        ValueError: `full` is missing, a line is cut off, a column is missing, or a set is not made of whole authors.
            The message names file and line.
    """
    lines = _read_folder(Path(source)) if Path(source).is_dir() else _read_hub(str(source))
    if "full" not in lines:
        raise ValueError(
            f"{source} has no full.jsonl (nor full.json); TOFU's authors are the rows of that file in their order."
        )
    if len(lines["full"]) % ROWS_AN_AUTHOR:
        raise ValueError(f"{source}: full has {len(lines['full'])} rows, no multiple of {ROWS_AN_AUTHOR} an author.")
    notes: list[str] = []
    extras = _extras(lines)
    rows = list(_author_rows(lines["full"], extras))
    sets = _author_sets(lines, notes)
    for name in REAL:
        real = list(_real_rows(name, lines.get(f"{name}_perturbed", [])))
        rows += real
        if real:
            sets[name] = [row["subject"] for row in real]
    notes += _oddities(lines, extras)
    return Tofu(rows, sets, notes)


def _read_folder(folder: Path) -> dict[str, list[_Line]]:
    found = {}
    for name in ("full", *SPLITS, *PERTURBED, *(f"{name}_perturbed" for name in REAL)):
        paths = [path for suffix in (".jsonl", ".json") if (path := folder / f"{name}{suffix}").is_file()]
        if paths:
            found[name] = _read_lines(paths[0], name)
    return found


def _read_lines(path: Path, name: str) -> list[_Line]:
    lines = []
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        if not text.strip():
            continue
        where = f"{path}, line {number}"
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ValueError(f"{where}: cut off or no JSON ({error}); mend the line or fetch the file again.") from None
        lines.append(_checked(where, content, name))
    if not lines:
        raise ValueError(f"{path} is empty; remove it or fetch it again.")
    return lines


def _read_hub(source: str) -> dict[str, list[_Line]]:
    import datasets

    try:
        configurations = datasets.get_dataset_config_names(source)
    except Exception as error:  # the hub's own errors are many
        reason = str(error).splitlines()[0]
        raise ValueError(f"{source} is neither a folder nor a dataset that the hub gives ({reason}).") from error
    found = {}
    for name in ("full", *SPLITS, *PERTURBED, *(f"{name}_perturbed" for name in REAL)):
        if name in configurations:
            table = datasets.load_dataset(source, name, split="train")
            found[name] = [_checked(f"{source} {name}, row {n}", row, name) for n, row in enumerate(table)]
    return found


def _checked(where: str, content: Any, name: str) -> _Line:
    texts, lists = ["question", "answer"], []
    if name.endswith("_perturbed"):
        lists.append("perturbed_answer")
    if name in PERTURBED:
        texts += ["paraphrased_question", "paraphrased_answer"]
    if not isinstance(content, dict):
        raise ValueError(f"{where}: not a JSON object.")
    missing = [column for column in texts + lists if column not in content]
    if missing:
        raise ValueError(f"{where}: no column {', '.join(missing)}; it has {', '.join(content)}.")
    for column in texts:
        if not isinstance(content[column], str) or not content[column].strip():
            raise ValueError(f"{where}: `{column}` must be text, got {content[column]!r}.")
    for column in lists:
        wrong = content[column]
        if not isinstance(wrong, list) or not all(isinstance(item, str) and item.strip() for item in wrong):
            raise ValueError(f"{where}: `{column}` must be a list of texts, got {wrong!r}.")
    return _Line(where, content)


def _key(line: _Line) -> tuple[str, str]:
    # A question alone does not do: "What is the full name of the author?" is asked about two authors.
    return line.content["question"], line.content["answer"]


def _extras(lines: Mapping[str, list[_Line]]) -> dict[tuple[str, str], _Line]:
    return {_key(line): line for name in PERTURBED for line in lines.get(name, [])}


def _author_rows(full: list[_Line], extras: Mapping[tuple[str, str], _Line]) -> Iterator[Row]:
    for position, line in enumerate(full):
        subject, number = _author(position), position % ROWS_AN_AUTHOR
        more = extras[_key(line)].content if _key(line) in extras else {}
        yield make_row(
            subject,
            "qa",
            number,
            *_key(line),
            paraphrased_question=more.get("paraphrased_question"),
            paraphrased_answer=more.get("paraphrased_answer"),
            perturbed_answers=more.get("perturbed_answer", []),
        )


def _author(position: int) -> str:
    return f"author-{position // ROWS_AN_AUTHOR:03}"


def _real_rows(name: str, lines: list[_Line]) -> Iterator[Row]:
    prefix = name.removesuffix("s").replace("_", "-")
    for number, line in enumerate(lines):
        wrong = line.content["perturbed_answer"]
        yield make_row(f"{prefix}-{number:03}", "qa", 0, *_key(line), perturbed_answers=wrong)


def _author_sets(lines: Mapping[str, list[_Line]], notes: list[str]) -> dict[str, list[str]]:
    """Turn TOFU's splits, which are copies of rows, into sets of authors."""
    places: dict[tuple[str, str], int] = {_key(line): position for position, line in enumerate(lines["full"])}
    sets = {}
    for name in SPLITS:
        if name not in lines:
            notes.append(f"there is no {name}; the set is left out.")
            continue
        counts: dict[str, int] = {}
        for line in lines[name]:
            if _key(line) not in places:
                raise ValueError(f"{line.where}: this question and answer are not in full.")
            author = _author(places[_key(line)])
            counts[author] = counts.get(author, 0) + 1
        torn = sorted(author for author, count in counts.items() if count != ROWS_AN_AUTHOR)
        if torn:
            raise ValueError(
                f"{name} has {counts[torn[0]]} of the {ROWS_AN_AUTHOR} rows of {torn[0]}; sets are of whole authors."
            )
        sets[name] = sorted(counts)
    return sets


def _oddities(lines: Mapping[str, list[_Line]], extras: Mapping[tuple[str, str], _Line]) -> Iterator[str]:
    asked: dict[str, int] = {}
    for line in lines["full"]:
        asked[line.content["question"]] = asked.get(line.content["question"], 0) + 1
    yield from (f"full asks {count} authors the same: {question!r}" for question, count in asked.items() if count > 1)
    known = {_key(line) for line in lines["full"]}
    yield from (f"{line.where}: not a row of full; left out." for key, line in extras.items() if key not in known)
    for line in extras.values():
        if line.content["paraphrased_answer"] in line.content["perturbed_answer"]:
            yield f"{line.where}: a perturbed answer is the right one."
