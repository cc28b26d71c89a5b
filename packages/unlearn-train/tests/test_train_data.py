import json
import shutil

import datasets
import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image
from unlearn_train.data import RowSets


def rewrite(folder, change):
    path = folder / "rows.parquet"
    pyarrow.parquet.write_table(change(pyarrow.parquet.read_table(path)), path)


@pytest.fixture
def own(tmp_path, folder):
    """A dataset folder that may be spoilt."""
    return shutil.copytree(folder, tmp_path / "own")


def test_rows_come_by_set_and_task_in_the_order_of_their_ids(folder):
    data = RowSets.read(folder)
    chosen = data.select("forget10", {"qa"})
    assert [row["id"] for row in chosen] == ["ada/qa/1", "ada/qa/2", "bo/qa/1", "bo/qa/2"]
    assert chosen[0]["answer"] == "Ada Berg is a baker."
    assert chosen[0]["perturbed_answers"] == ["Ada Berg is a king."]
    assert len(data.select("forget10")) == 8
    assert [row["id"] for row in data.of_subjects(["ed"], ["caption"])] == ["ed/caption/1"]


def test_the_order_of_the_file_does_not_matter(own):
    before = [row["id"] for row in RowSets.read(own).select("retain90")]
    rewrite(own, lambda table: table.take(list(range(table.num_rows))[::-1]))
    assert [row["id"] for row in RowSets.read(own).select("retain90")] == before


def test_images_are_read(folder):
    (row,) = RowSets.read(folder).of_subjects(["ada"], ["caption"])
    assert isinstance(row["image"], Image.Image)
    assert (row["image"].mode, row["image"].size, row["image"].getpixel((0, 0))) == ("RGB", (32, 32), (200, 30, 30))


def test_rows_share_their_photographs(own):
    def shown_alike(table):
        column = table.column_names.index("image")
        field = table.schema.field(column)
        image = next(filter(None, table.column(column).to_pylist()))
        return table.set_column(column, field, pyarrow.array([image] * table.num_rows, field.type))

    rewrite(own, shown_alike)
    rows = RowSets.read(own).select("retain90")
    assert len({id(row["image"]) for row in rows}) == 1 < len(rows)


def test_images_are_read_without_the_schema_of_datasets(own):
    rewrite(own, lambda table: table.replace_schema_metadata(None))
    (row,) = RowSets.read(own).of_subjects(["ada"], ["caption"])
    assert row["image"].size == (32, 32)


def test_whether_there_are_images(folder, text_folder):
    assert RowSets.read(folder).has_images
    assert not RowSets.read(text_folder).has_images


@pytest.mark.parametrize("name", ["rows.parquet", "sets.json"])
def test_a_missing_file_is_named(own, name):
    (own / name).unlink()
    with pytest.raises(ValueError, match=f"{own / name} is not there"):
        RowSets.read(own)


def test_a_missing_column_is_named(own):
    rewrite(own, lambda table: table.drop_columns(["keywords", "task"]))
    with pytest.raises(ValueError, match="rows.parquet lacks the column task, keywords; it has id"):
        RowSets.read(own)


@pytest.mark.parametrize("share", [0.0, 0.5, 0.99])
def test_a_truncated_file_is_named(own, share):
    path = own / "rows.parquet"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    with pytest.raises(ValueError, match="rows.parquet cannot be read as Parquet, it may be cut short"):
        RowSets.read(own)


def test_no_rows_are_refused(own):
    rewrite(own, lambda table: table.slice(0, 0))
    with pytest.raises(ValueError, match="rows.parquet has no row"):
        RowSets.read(own)


@pytest.mark.parametrize(
    "values", [pyarrow.array([None] * 24, pyarrow.string()), pyarrow.array(range(24))], ids=["empty", "numbers"]
)
def test_a_column_that_is_no_text_is_named(own, values):
    rewrite(own, lambda table: table.set_column(table.column_names.index("answer"), "answer", values))
    with pytest.raises(ValueError, match="the column answer of .*rows.parquet must hold text in every row"):
        RowSets.read(own)


@pytest.mark.parametrize("text", ["{", "[]", '{"forget10": "ada"}', "\xff"])
def test_bad_sets_are_named(own, text):
    (own / "sets.json").write_text(text, encoding="latin-1")
    with pytest.raises(ValueError, match=r"sets.json (is no JSON|must map every set to a list)"):
        RowSets.read(own)


def test_an_unknown_set_suggests_a_near_one(folder):
    data = RowSets.read(folder)
    with pytest.raises(
        ValueError, match="no set `forget01` in this data; did you mean `forget10`. it has forget10, hold"
    ):
        data.select("forget01")
    with pytest.raises(ValueError, match="no set `zzz` in this data; it has"):
        data.select("zzz")


def test_an_empty_selection_is_refused(own):
    data = RowSets.read(own)
    with pytest.raises(ValueError, match="set `forget10` has no row of task cloze, vqa; nothing"):
        data.select("forget10", ["vqa", "cloze"])
    with pytest.raises(ValueError, match="request has no row; nothing"):
        data.of_subjects(["nobody"])
    (own / "sets.json").write_text(json.dumps({"forget10": []}))
    with pytest.raises(ValueError, match="set `forget10` has no row; nothing"):
        RowSets.read(own).select("forget10")


def images(own, stored):
    """Stores something else in place of every image."""

    def change(table):
        values = pyarrow.array([stored] * table.num_rows)
        return table.set_column(table.column_names.index("image"), "image", values).replace_schema_metadata(None)

    rewrite(own, change)
    return RowSets.read(own)


def test_an_unreadable_image_is_named(own):
    data = images(own, {"bytes": b"\x89PNG\r\n\x1a\nnothing", "path": None})
    with pytest.raises(ValueError, match="the image of row ada/caption/1 cannot be read"):
        data.select("forget10")


def test_a_truncated_image_is_named(own, folder):
    stored = RowSets.read(folder).rows[2]["image"]["bytes"]
    data = images(own, {"bytes": stored[: len(stored) // 2], "path": None})
    with pytest.raises(ValueError, match="the image of row ada/caption/1 cannot be read"):
        data.select("forget10", ["caption"])


@pytest.mark.parametrize("stored", [{"bytes": None, "path": "../x.png"}, "../x.png"], ids=["row", "column of paths"])
def test_a_path_is_not_followed(own, stored):
    Image.new("RGB", (4, 4)).save(own.parent / "x.png")
    with pytest.raises(ValueError, match=r"row ada/caption/1 is not in the file but at '\.\./x.png', .* not followed"):
        images(own, stored).select("forget10", ["caption"])


def test_an_image_feature_with_a_path_is_not_followed(own, tmp_path, rows, write_dataset):
    Image.new("RGB", (4, 4)).save(tmp_path / "x.png")
    outside = {"bytes": None, "path": str(tmp_path / "x.png")}
    write_dataset(own, [{**row, "image": row["image"] and outside} for row in rows])
    assert datasets.Dataset.from_parquet(str(own / "rows.parquet")).features["image"] == datasets.Image()
    with pytest.raises(ValueError, match="row ada/caption/1 is not in the file"):
        RowSets.read(own).select("forget10", ["caption"])


def test_a_column_of_no_images_is_refused(own):
    with pytest.raises(ValueError, match="the column image of .*rows.parquet holds no images"):
        images(own, 3)


def test_sets_that_share_subjects_are_refused(own):
    data = RowSets.read(own)
    data.require_apart("forget10", "retain90")
    with pytest.raises(ValueError, match=r"`forget10` and `forget10` share \d+ subjects, .+ among them"):
        data.require_apart("forget10", "forget10")
    sets = {**data.sets, "holdout": data.sets["retain90"][:1]}
    with pytest.raises(ValueError, match="`retain90` and `holdout` share 1 subjects"):
        RowSets(data.rows, sets).require_apart("forget10", "retain90")
    with pytest.raises(ValueError, match="there is no set `forget1O` in this data; did you mean `forget10`"):
        data.require_apart("forget1O", "retain90")
