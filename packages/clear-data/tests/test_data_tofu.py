import json
from pathlib import Path
from typing import Any

import pytest
from clear_data import check, load, read_tofu, validate_rows, validate_sets

AUTHORS = 100


def qa(author: int, number: int) -> dict[str, Any]:
    return {"question": f"What is fact {number} of author {author}?", "answer": f"It is {author}-{number}."}


def perturbed(author: int, number: int) -> dict[str, Any]:
    more = {"paraphrased_question": "Which?", "paraphrased_answer": f"That is {author}-{number}."}
    return qa(author, number) | more | {"perturbed_answer": ["That is x.", "That is y."]}


def write(path: Path, rows: list[Any]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture
def tofu(tmp_path: Path) -> Path:
    """A TOFU of 100 authors, forgotten from the end as in the real one."""
    rows = [qa(author, number) for author in range(AUTHORS) for number in range(20)]
    write(tmp_path / "full.jsonl", rows)
    for percent in (1, 5, 10):
        cut = 20 * (AUTHORS - percent)
        write(tmp_path / f"forget{percent:02}.jsonl", rows[cut:])
        write(tmp_path / f"retain{100 - percent}.jsonl", rows[:cut])
    write(tmp_path / "forget10_perturbed.jsonl", [perturbed(99, number) for number in range(20)])
    real = {"question": "Who wrote Emma?", "answer": "Jane Austen", "perturbed_answer": ["George Eliot"]}
    write(tmp_path / "real_authors_perturbed.jsonl", [real])
    return tmp_path


def test_columns_and_sets(tofu: Path) -> None:
    read = read_tofu(tofu)
    assert validate_rows(read.rows) == 20 * AUTHORS + 1
    assert read.sets["forget01"] == ["author-099"]
    assert len(read.sets["forget10"]) == 10
    assert len(read.sets["retain90"]) == 90
    assert read.sets["real_authors"] == ["real-author-000"]
    assert read.notes == []
    rows = {row["id"]: row for row in read.rows}
    assert rows["author-098/qa/3"]["perturbed_answers"] == []
    last = rows["author-099/qa/19"]
    assert (last["answer"], last["paraphrased_answer"]) == ("It is 99-19.", "That is 99-19.")
    assert last["perturbed_answers"] == ["That is x.", "That is y."]
    assert last["keywords"] == []
    assert rows["real-author-000/qa/0"]["paraphrased_answer"] is None


def test_json_files_will_do(tofu: Path) -> None:
    before = read_tofu(tofu)
    for path in list(tofu.glob("*.jsonl")):
        path.rename(path.with_suffix(".json"))
    assert read_tofu(tofu) == before


def test_order_of_a_split_does_not_matter(tofu: Path) -> None:
    before = read_tofu(tofu).sets
    lines = (tofu / "retain90.jsonl").read_text().splitlines(keepends=True)
    (tofu / "retain90.jsonl").write_text("".join(reversed(lines)))
    assert read_tofu(tofu).sets == before


def test_a_missing_split_is_noted(tofu: Path) -> None:
    (tofu / "retain99.jsonl").unlink()
    read = read_tofu(tofu)
    assert "retain99" not in read.sets
    assert read.notes == ["there is no retain99; the set is left out."]


def test_a_truncated_line_is_named(tofu: Path) -> None:
    path = tofu / "forget05.jsonl"
    path.write_text(path.read_text()[:-20])
    with pytest.raises(ValueError, match=r"forget05\.jsonl, line 100: cut off or no JSON") as error:
        read_tofu(tofu)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("full", {"question": "Q?"}, "line 1: no column answer; it has question"),
        ("full", [1], "line 1: not a JSON object"),
        ("full", {"question": "Q?", "answer": ""}, "line 1: `answer` must be text, got ''"),
        ("full", {"question": "Q?", "answer": 3}, "line 1: `answer` must be text, got 3"),
        (
            "forget10_perturbed",
            qa(0, 0),
            "line 1: no column paraphrased_question, paraphrased_answer, perturbed_answer",
        ),
        ("real_authors_perturbed", qa(0, 0) | {"perturbed_answer": "x"}, "must be a list of texts"),
        ("retain90", qa(7, 1), "retain90 has 1 of the 20 rows of author-007"),
        ("retain90", {"question": "Who?", "answer": "Me."}, "line 1: this question and answer are not in full"),
        ("full", qa(0, 0), "full has 1 rows, no multiple of 20"),
    ],
)
def test_faulty_files(tofu: Path, name: str, content: Any, message: str) -> None:
    write(tofu / f"{name}.jsonl", [content])
    with pytest.raises(ValueError, match=message):
        read_tofu(tofu)


def test_no_full_and_an_empty_file(tofu: Path) -> None:
    (tofu / "retain90.jsonl").write_text("\n")
    with pytest.raises(ValueError, match=r"retain90\.jsonl is empty"):
        read_tofu(tofu)
    (tofu / "retain90.jsonl").unlink()
    (tofu / "full.jsonl").unlink()
    with pytest.raises(ValueError, match=r"has no full\.jsonl"):
        read_tofu(tofu)


def test_oddities_are_noted(tofu: Path) -> None:
    odd = perturbed(99, 0) | {"perturbed_answer": ["That is 99-0."]}
    stray = perturbed(500, 0)
    write(tofu / "forget10_perturbed.jsonl", [odd, stray])
    notes = read_tofu(tofu).notes
    assert len(notes) == 2
    assert "line 2: not a row of full" in notes[0]
    assert "line 1: a perturbed answer is the right one" in notes[1]


def test_one_question_asked_of_two_authors_is_told_apart_by_its_answer(tofu: Path) -> None:
    rows = [json.loads(line) for line in (tofu / "full.jsonl").read_text().splitlines()]
    rows[0]["question"] = rows[-1]["question"]
    write(tofu / "full.jsonl", rows)
    for percent in (1, 5, 10):
        write(tofu / f"retain{100 - percent}.jsonl", rows[: 20 * (AUTHORS - percent)])
    read = read_tofu(tofu)
    assert read.sets["forget01"] == ["author-099"]
    assert read.rows[0]["paraphrased_answer"] is None
    assert len(read.notes) == 1
    assert "asks 2 authors the same" in read.notes[0]


def test_a_hub_name(tofu: Path, monkeypatch) -> None:
    import datasets

    def rows_of(name: str) -> list[Any]:
        return [json.loads(line) for line in (tofu / f"{name}.jsonl").read_text().splitlines()]

    monkeypatch.setattr(datasets, "get_dataset_config_names", lambda source: [path.stem for path in tofu.iterdir()])
    monkeypatch.setattr(datasets, "load_dataset", lambda source, name, split: rows_of(name))
    assert read_tofu("locuslab/TOFU") == read_tofu(tofu)


def test_neither_folder_nor_hub(monkeypatch) -> None:
    import datasets

    def refuse(source: str) -> None:
        raise ConnectionError("no route\nto host")

    monkeypatch.setattr(datasets, "get_dataset_config_names", refuse)
    with pytest.raises(ValueError, match=r"neither a folder nor a dataset that the hub gives \(no route\)"):
        read_tofu("locuslab/TOFU")


def test_real_tofu(real_data, tmp_path: Path) -> None:
    read = read_tofu(real_data("tofu"))
    assert validate_rows(read.rows) == 4000 + 100 + 117
    validate_sets(read.sets, {row["subject"] for row in read.rows})
    sizes = {name: len(members) for name, members in read.sets.items()}
    assert sizes == {
        "forget01": 2,
        "retain99": 198,
        "forget05": 10,
        "retain95": 190,
        "forget10": 20,
        "retain90": 180,
        "real_authors": 100,
        "world_facts": 117,
    }
    assert read.sets["forget10"] == [f"author-{number}" for number in range(180, 200)]
    assert sum(bool(row["perturbed_answers"]) for row in read.rows) == 400 + 400 + 217
    assert sum(row["paraphrased_answer"] is not None for row in read.rows) == 800
    assert read.notes == ["full asks 2 authors the same: 'What is the full name of the author?'"]
    read.save(tmp_path / "data")
    data = load(tmp_path / "data")
    assert len(data.select("forget10")) == 400
    assert check(tmp_path / "data").faults == []
    original = [json.loads(line) for line in (real_data("tofu") / "full.jsonl").read_text().splitlines()]
    assert [row["answer"] for row in original] == data.rows["answer"][:4000]
