import io
import json
from pathlib import Path
from typing import Any

import datasets
import pytest
from clear_data import check, load, read_mllmu, validate_rows
from clear_data.cli import main
from PIL import Image


def picture(shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8), (shade, 90, 30)).save(buffer, "PNG")
    return buffer.getvalue()


def asked(question: str, *options: str, right: str = "B") -> dict[str, Any]:
    return {"Question": question, "Options": dict(zip("ABCD", options, strict=False)), "Correct_Answer": right}


def person(number: int) -> dict[str, Any]:
    return {
        "image": {"bytes": picture(number), "path": "x.png"},
        "ID": f"{number:03}",
        "Directory": f"images/{number:03}.png",
        "biography": f"Person {number} is a baker.",
        "question": "Describe the person.",
        "answer": f"This is person {number}, a baker.",
        "Classification_Task": {
            "Image_Textual_Questions": [asked("What does this person do?", "Pilot", "Baker", "Judge", "Diver")],
            "Pure_Text_Questions": [
                asked(f"Where does person {number} live?", "Oslo", "Rome", "Lima", "Bern", right="C"),
                asked(f"What is person {number}?", "Old", "Young", "Tall", "Small", right="A"),
            ],
        },
        "Generation_Task": [
            {"Question": "Who is this?", "Ground_Truth": f"Person {number}.", "Type": "Image_Textual"},
            {"Question": f"What does person {number} bake?", "Ground_Truth": "Bread.", "Type": "Pure_Text"},
        ],
        "Mask_Task": [{"Question": f"Person {number} is a [blank].", "Ground_Truth": "baker", "Type": "Pure_Text"}],
    }


FILES = {
    "Full_Set": range(10),
    "Retain_Set": range(3),
    "forget_5": (9,),
    "retain_95": range(9),
    "forget_10": (1, 2),
}


def write_parquet(folder: Path, name: str, records: list[dict[str, Any]]) -> None:
    (folder / name).mkdir(parents=True, exist_ok=True)
    table = datasets.Dataset.from_list(records).cast_column("image", datasets.Image())
    table.to_parquet(folder / name / "train-00000-of-00001.parquet")


@pytest.fixture
def mllmu(tmp_path: Path) -> Path:
    """Files in the form of the published ones, whose forget sets are not nested."""
    for name, numbers in FILES.items():
        write_parquet(tmp_path / "mllmu", name, [person(number) for number in numbers])
    return tmp_path / "mllmu"


def test_columns_and_sets(mllmu: Path) -> None:
    read = read_mllmu(mllmu)
    assert validate_rows(read.rows) == 13 * 7
    assert read.sets == {
        "forget_5": ["person-009"],
        "retain_95": [f"person-{number:03}" for number in range(9)],
        "forget_10": ["person-001", "person-002"],
        "real_faces": ["celebrity-000", "celebrity-001", "celebrity-002"],
    }
    assert [note.split(";")[0] for note in read.notes] == [
        f"there is no {name}" for name in ("retain_90", "forget_15", "retain_85")
    ]
    rows = {row["id"]: row for row in read.rows}
    first = rows["person-003/mcq/0"]
    assert (first["answer"], first["options"]) == ("Baker", ["Pilot", "Baker", "Judge", "Diver"])
    assert first["image"] == picture(3)
    assert (rows["person-003/mcq/1"]["answer"], rows["person-003/mcq/1"]["image"]) == ("Lima", None)
    assert rows["person-003/caption/0"]["answer"] == "This is person 3, a baker."
    assert (rows["person-003/vqa/0"]["answer"], rows["person-003/vqa/0"]["image"]) == ("Person 3.", picture(3))
    assert (rows["celebrity-002/qa/0"]["answer"], rows["celebrity-002/qa/0"]["image"]) == ("Bread.", None)
    assert rows["celebrity-002/cloze/0"]["answer"] == "baker"
    assert read.subjects[0] == {"id": "person-000", "group": "subjects", "biography": "Person 0 is a baker."}
    assert read.subjects[-1]["group"] == "figures"


def test_json_with_pictures_beside_it_gives_the_same(mllmu: Path, tmp_path: Path) -> None:
    other = tmp_path / "json"
    (other / "images").mkdir(parents=True)
    for name, numbers in FILES.items():
        for number in numbers:
            (other / f"images/{number:03}.png").write_bytes(picture(number))
        records = [{**person(number), "image": f"images/{number:03}.png"} for number in numbers]
        (other / f"{name}.json").write_text(json.dumps(records))
    assert read_mllmu(other) == read_mllmu(mllmu)


def test_tasks_as_json_in_a_string_are_read(mllmu: Path) -> None:
    before = read_mllmu(mllmu)
    nested = ("Classification_Task", "Generation_Task", "Mask_Task")
    records = [{**one, **{name: json.dumps(one[name]) for name in nested}} for one in map(person, FILES["Full_Set"])]
    write_parquet(mllmu, "Full_Set", records)
    assert read_mllmu(mllmu) == before


def test_what_contradicts_itself_is_left_out_and_noted(mllmu: Path) -> None:
    odd = person(0)
    odd["Classification_Task"]["Pure_Text_Questions"][0]["Correct_Answer"] = "E"
    odd["Classification_Task"]["Pure_Text_Questions"][1]["Options"]["B"] = "Old"
    odd["Generation_Task"][0]["Ground_Truth"] = ""
    write_parquet(mllmu, "Full_Set", [odd, *map(person, range(1, 10))])
    read = read_mllmu(mllmu)
    validate_rows(read.rows)
    assert len(read.rows) == 13 * 7 - 3
    assert sum("Left out" in note for note in read.notes) == 3
    assert any("record 1: person-000/mcq/1: `options` must hold the answer exactly once" in note for note in read.notes)


def test_the_command_writes_a_dataset_that_checks(mllmu: Path, tmp_path: Path, capsys: Any) -> None:
    assert main(["read", "mllmu", str(mllmu), "--out", str(tmp_path / "out"), "-q"]) == 0
    assert capsys.readouterr().out == f"{tmp_path / 'out'}: 91 rows, 4 sets\n"
    assert not check(tmp_path / "out").faults
    assert load(tmp_path / "out").select("forget_5", {"mcq"})["answer"][:] == ["Baker", "Lima", "Old"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ID": None}, "record 1: `ID` must name a person, got None"),
        ({"ID": "a/b"}, "record 1: `ID` must name a person, got 'a/b'"),
        ({"ID": "001"}, "record 2: the ID '001' comes twice"),
        ({"image": None}, "record 1: person-000 has no picture"),
    ],
)
def test_a_faulty_record_is_named(mllmu: Path, change: dict[str, Any], message: str) -> None:
    write_parquet(mllmu, "Full_Set", [{**person(0), **change}, *map(person, range(1, 10))])
    with pytest.raises(ValueError, match=message):
        read_mllmu(mllmu)


def test_a_set_of_strangers_is_refused(mllmu: Path) -> None:
    write_parquet(mllmu, "forget_10", [person(77)])
    with pytest.raises(ValueError, match="the person '077' is not in Full_Set"):
        read_mllmu(mllmu)


def test_missing_and_truncated_files(mllmu: Path, tmp_path: Path) -> None:
    path = mllmu / "Retain_Set/train-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match="is truncated or no Parquet file"):
        read_mllmu(mllmu)
    path.unlink()
    assert "real_faces" not in read_mllmu(mllmu).sets
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no Full_Set"):
        read_mllmu(tmp_path / "empty")


def test_paths_in_json_stay_within_the_folder(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "secret.png").write_bytes(picture(1))
    (tmp_path / "data/Full_Set.jsonl").write_text(json.dumps({**person(1), "image": "../secret.png"}))
    with pytest.raises(ValueError, match="is outside the folder"):
        read_mllmu(tmp_path / "data")
    (tmp_path / "data/Full_Set.jsonl").write_text('{"ID": "1",')
    with pytest.raises(ValueError, match="cut off or no JSON"):
        read_mllmu(tmp_path / "data")
