"""Reads MLLMU-Bench (fictitious people and celebrities, in text and images) into the columns of this package."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from clear_data.readers.mllmu_files import Read, folder_reader, hub_reader
from clear_data.schema import Row, make_row, row_fault
from clear_data.table import save

PEOPLE, CELEBRITIES = "Full_Set", "Retain_Set"
SPLITS = ("forget_5", "retain_95", "forget_10", "retain_90", "forget_15", "retain_85")


class Mllmu(NamedTuple):
    """MLLMU-Bench in the columns of this package.

    Attributes:
        rows: those of the fictitious people in their order, then those of the celebrities.
        sets: name of a set to its subjects.
        subjects: what the benchmark says of everybody: `id`, `group` and `biography`.
        notes: what is odd in the data.
    """

    rows: list[Row]
    sets: dict[str, list[str]]
    subjects: list[dict[str, Any]]
    notes: list[str]

    def save(self, folder: Path, *, overwrite: bool = False) -> None:
        """Write a dataset folder."""
        save(folder, self.rows, self.sets, subjects=self.subjects, overwrite=overwrite)


class _Person(NamedTuple):
    """Somebody in MLLMU-Bench."""

    subject: str
    where: str
    """for messages"""
    content: Mapping[str, Any]
    image: bytes


def read_mllmu(source: str | Path) -> Mllmu:
    """Read MLLMU-Bench.

    A subject is a person: `person-001` of `Full_Set`, `celebrity-001` of `Retain_Set` (the set `real_faces`). The
    description of a picture becomes a `caption`, the generation task `qa` and `vqa` rows, the classification task `mcq`
    rows with or without the picture, the mask task `cloze` rows. The sets of the fictitious people keep the
    benchmark's own names (`forget_5`, `retain_95`, …): its forget sets are not nested, as `forget05` and `forget10`
    are here. The altered pictures of `Test_Set` are not read.

    Args:
        source: a folder that holds, for each configuration, a folder of Parquet files
            (`Full_Set/train-00000-of-00001.parquet`) or a file of records (`Full_Set.json`, `Full_Set.jsonl`), whose
            pictures are paths within `source`; or the name of a dataset on the Hugging Face hub, such as
            `MLLMMU/MLLMU-Bench`.

    Raises:
        ValueError: `Full_Set` is missing, a file is cut off, somebody has no ID or picture, an ID comes twice, or a
            set names somebody who is not in `Full_Set`. The message names the file and the person.
    """
    read = folder_reader(Path(source)) if Path(source).is_dir() else hub_reader(str(source))
    people, celebrities = _people(read, PEOPLE, "person"), _people(read, CELEBRITIES, "celebrity")
    if not people:
        raise ValueError(f"{source} has no {PEOPLE}, a folder of Parquet files or a file of JSON; fetch it again.")
    notes: list[str] = []
    rows = [row for person in (*people, *celebrities) for row in _rows(person, notes)]
    sets = _sets(read, {_text(person.content, "ID"): person.subject for person in people}, notes)
    if celebrities:
        sets["real_faces"] = [person.subject for person in celebrities]
    else:
        notes.append(f"there is no {CELEBRITIES}; the set real_faces is left out.")
    return Mllmu(rows, sets, [_profile(person) for person in (*people, *celebrities)], notes)


def _people(read: Read, name: str, group: str) -> list[_Person]:
    people: dict[str, _Person] = {}
    for where, content, image in read(name, True):
        subject = f"{group}-{_id(where, content)}"
        if subject in people:
            raise ValueError(f"{where}: the ID {content['ID']!r} comes twice; fetch the file again.")
        if image is None:
            raise ValueError(f"{where}: {subject} has no picture in the column `image`; fetch the file again.")
        people[subject] = _Person(subject, where, content, image)
    return list(people.values())


def _id(where: str, content: Mapping[str, Any]) -> str:
    found = content.get("ID")
    if found is None or not str(found).strip() or "/" in str(found):
        raise ValueError(f"{where}: `ID` must name a person, got {found!r}; it has {', '.join(content)}.")
    return str(found).strip()


def _rows(person: _Person, notes: list[str]) -> Iterator[Row]:
    """The rows of one person; what says nothing, or contradicts itself, is left out and noted."""
    numbers: dict[str, int] = {}
    for task, question, answer, more in _questions(person):
        number = numbers.get(task, 0)
        row = make_row(person.subject, task, number, question, answer, **more)
        if fault := row_fault(row):
            notes.append(f"{person.where}: {row['id']}: {fault} Left out.")
            continue
        numbers[task] = number + 1
        yield row


def _questions(person: _Person) -> Iterator[tuple[str, str, str, dict[str, Any]]]:
    """Task, question, answer and further columns of everything that is asked about a person."""
    content, shown = person.content, {"image": person.image}
    if _text(content, "question") and _text(content, "answer"):
        yield "caption", _text(content, "question"), _text(content, "answer"), shown
    for asked in _list(content.get("Generation_Task")):
        image = _shows(asked)
        yield ("vqa" if image else "qa"), _text(asked, "Question"), _text(asked, "Ground_Truth"), shown if image else {}
    choice = _plain(content.get("Classification_Task")) or {}
    for name, more in (("Image_Textual_Questions", shown), ("Pure_Text_Questions", {})):
        for asked in _list(choice.get(name)):
            options = _options(asked)
            right = options.get(_text(asked, "Correct_Answer"), "")
            yield "mcq", _text(asked, "Question"), right, {**more, "options": list(options.values())}
    for asked in _list(content.get("Mask_Task")):
        more = shown if _shows(asked) else {}
        yield "cloze", _text(asked, "Question"), _text(asked, "Ground_Truth"), more


def _options(asked: Mapping[str, Any]) -> dict[str, str]:
    """The options by letter; a file of Parquet has a null where a question has fewer than others."""
    found = _plain(asked.get("Options")) or {}
    return {letter: str(found[letter]).strip() for letter in sorted(found) if found[letter] is not None}


def _shows(asked: Mapping[str, Any]) -> bool:
    return "image" in _text(asked, "Type").lower()


def _sets(read: Read, subjects: Mapping[str, str], notes: list[str]) -> dict[str, list[str]]:
    sets = {}
    for name in SPLITS:
        found = [(where, _id(where, content)) for where, content, _ in read(name, False)]
        if not found:
            notes.append(f"there is no {name}; the set is left out.")
            continue
        for where, number in found:
            if number not in subjects:
                raise ValueError(f"{where}: the person {number!r} is not in {PEOPLE}.")
        sets[name] = sorted({subjects[number] for _, number in found})
    return sets or {"people": sorted(subjects.values())}


def _profile(person: _Person) -> dict[str, Any]:
    group = "figures" if person.subject.startswith("celebrity") else "subjects"
    return {"id": person.subject, "group": group, "biography": _plain(person.content.get("biography"))}


def _text(content: Mapping[str, Any], name: str) -> str:
    found = content.get(name)
    return "" if found is None else str(found).strip()


def _plain(value: Any) -> Any:
    """What a column holds; some files hold it as JSON in a string."""
    if isinstance(value, str) and value.lstrip()[:1] in ("{", "["):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _list(value: Any) -> list[Mapping[str, Any]]:
    found = _plain(value)
    return [item for item in found if isinstance(item, Mapping)] if isinstance(found, list) else []
