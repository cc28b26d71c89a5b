import io
import json
from pathlib import Path

import datasets
import pyarrow as pa
import pytest
from clear_data import COLUMNS, features, load, save
from PIL import Image
from pyarrow import parquet


def png(color: str = "red") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), color).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def folder(tmp_path: Path, row) -> Path:
    rows = [
        row(),
        row(id="ada-obi/caption/0", task="caption", image=png()),
        row(id="ben-ito/qa/0", subject="ben-ito"),
        row(id="ben-ito/mcq/0", subject="ben-ito", task="mcq", options=["x", row()["answer"]]),
    ]
    sets = {"forget10": ["ada-obi"], "retain90": ["ben-ito"]}
    save(tmp_path / "data", rows, sets, subjects=[{"id": "ada-obi", "name": "Ada Øbi"}], card="# Card\n")
    return tmp_path / "data"


def test_what_is_saved_is_loaded(folder: Path, row) -> None:
    data = load(folder)
    assert data.sets == {"forget10": ["ada-obi"], "retain90": ["ben-ito"]}
    assert data.rows[0] == row()
    assert data.rows[1]["image"].getpixel((0, 0)) == (255, 0, 0)
    assert data.rows[3]["options"] == ["x", row()["answer"]]
    assert (folder / "README.md").read_text() == "# Card\n"
    assert json.loads((folder / "subjects.jsonl").read_text())["name"] == "Ada Øbi"


def test_hugging_face_restores_the_features(folder: Path, tmp_path: Path) -> None:
    rows = datasets.load_dataset(
        "parquet", data_files=str(folder / "rows.parquet"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert rows.features == features()
    assert rows[1]["image"].size == (4, 4)


def test_equal_content_gives_equal_bytes(folder: Path, tmp_path: Path, row) -> None:
    for name in ("one", "two"):
        save(tmp_path / name, [row()], {"forget10": ["ada-obi"]})
    assert (tmp_path / "one/rows.parquet").read_bytes() == (tmp_path / "two/rows.parquet").read_bytes()


def test_select(folder: Path) -> None:
    data = load(folder)
    assert data.select("forget10")["id"][:] == ["ada-obi/qa/0", "ada-obi/caption/0"]
    assert data.select("forget10", tasks={"caption"})["id"][:] == ["ada-obi/caption/0"]
    assert data.select("retain90", tasks=["qa", "mcq"])["id"][:] == ["ben-ito/qa/0", "ben-ito/mcq/0"]


def test_unknown_and_empty_sets(folder: Path) -> None:
    data = load(folder)
    with pytest.raises(ValueError, match="no set 'forget1' among forget10, retain90; did you mean forget10"):
        data.select("forget1")
    with pytest.raises(ValueError, match="set retain90 has no row of task caption; its rows are of task mcq, qa"):
        data.select("retain90", tasks={"caption"})


def test_a_taken_folder_is_kept(folder: Path, row) -> None:
    before = (folder / "rows.parquet").read_bytes()
    with pytest.raises(ValueError, match="already there"):
        save(folder, [row()], {"forget10": ["ada-obi"]})
    assert (folder / "rows.parquet").read_bytes() == before
    save(folder, [row()], {"forget10": ["ada-obi"]}, overwrite=True)
    assert len(load(folder).rows) == 1
    assert not (folder / "README.md").exists()


@pytest.mark.parametrize("sets", [{"forget10": []}, {"forget10": ["nobody"]}])
def test_nothing_is_left_of_a_faulty_dataset(tmp_path: Path, row, sets: dict[str, list[str]]) -> None:
    with pytest.raises(ValueError, match="forget10"):
        save(tmp_path / "data", [row()], sets)
    with pytest.raises(ValueError, match="row ada-obi/qa/1"):
        save(tmp_path / "data", [row(), row(id="ada-obi/qa/1", answer="")], {"forget10": ["ada-obi"]})
    assert list(tmp_path.iterdir()) == []


def test_no_folder_and_no_file(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder"):
        load(tmp_path / "nowhere")
    (folder / "sets.json").unlink()
    with pytest.raises(ValueError, match=r"sets\.json is missing"):
        load(folder)
    (folder / "rows.parquet").unlink()
    with pytest.raises(ValueError, match=r"rows\.parquet is missing"):
        load(folder)


@pytest.mark.parametrize("keep", [0, 3, 100, -1])
def test_truncated_rows(folder: Path, keep: int) -> None:
    path = folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match=r"rows\.parquet is truncated or no Parquet") as error:
        load(folder)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("text", ["", '{"forget10": ["ada', "[]", '{"forget10": "ada-obi"}', '{"forget10": [1]}'])
def test_faulty_sets_file(folder: Path, text: str) -> None:
    (folder / "sets.json").write_text(text)
    with pytest.raises(ValueError, match=r"sets\.json"):
        load(folder)


def change(folder: Path, column: str, values: pa.Array | None) -> None:
    path = folder / "rows.parquet"
    table = parquet.read_table(path).drop_columns(column)
    parquet.write_table(table if values is None else table.append_column(column, values), path)


@pytest.mark.parametrize("column", COLUMNS)
def test_missing_column(folder: Path, column: str) -> None:
    change(folder, column, None)
    with pytest.raises(ValueError, match=f"has no column {column}"):
        load(folder)


def test_column_of_another_type(folder: Path) -> None:
    change(folder, "keywords", pa.array([1, 2, 3, 4]))
    with pytest.raises(ValueError, match="has a column of the wrong type"):
        load(folder)


def test_null_in_a_column(folder: Path) -> None:
    change(folder, "answer", pa.array(["Lagos", "Lagos", None, "Lagos"]))
    with pytest.raises(ValueError, match="row ben-ito/qa/0: `answer` must be a string, got NoneType"):
        load(folder)


def test_image_paths_are_not_followed(folder: Path) -> None:
    """A path in a data file could name any file of the reader's machine."""
    image = [None, {"bytes": None, "path": "../../etc/passwd"}, None, None]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    change(folder, "image", pa.array(image, kind))
    with pytest.raises(ValueError, match=r"row ada-obi/caption/0: its image is the path '\.\./\.\./etc/passwd'"):
        load(folder)


def test_a_table_of_another_writer_is_read(folder: Path) -> None:
    """No features in the metadata, other string types, columns in another order and one too many."""
    path = folder / "rows.parquet"
    table = parquet.read_table(path).replace_schema_metadata(None)
    table = table.select(table.column_names[::-1]).append_column("more", pa.array(range(4)))
    place = table.column_names.index("answer")
    table = table.set_column(place, "answer", table["answer"].cast(pa.large_string()))
    parquet.write_table(table, path, row_group_size=1)
    data = load(folder)
    assert data.rows.features == features()
    assert data.rows[1]["image"].size == (4, 4)
