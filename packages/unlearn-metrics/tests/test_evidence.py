import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from unlearn_metrics import GENERATIONS_SCHEMA, SCORES_SCHEMA, Evidence


@pytest.fixture
def tables(builder):
    made = (
        builder().row("ann/qa/0", [-0.5, -0.25], [-1.0], [[-2.0], [-3.0, -1.0]]).says("ann/qa/0", "Bo", "Ann", ["Ann"])
    )
    return made.row("bob/qa/0", [-0.125]).tables()


def with_column(table, name, values, kind=None):
    at = table.column_names.index(name)
    return table.set_column(at, name, pa.array(values, kind or table.schema.field(name).type))


def test_what_is_written_is_read(tables, tmp_path):
    evidence = Evidence(*tables, {"model": "Ä", "seconds": 1.5})
    evidence.write(tmp_path / "new" / "folder")
    read = Evidence.read(tmp_path / "new" / "folder")
    assert read == evidence
    assert read.scores.schema == SCORES_SCHEMA
    assert read.generations.schema == GENERATIONS_SCHEMA


def test_writing_again_replaces_and_leaves_other_files_alone(tables, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    Evidence(*tables, {"run": 1}).write(tmp_path)
    Evidence(*tables, {"run": 2}).write(tmp_path)
    assert Evidence.read(tmp_path).info == {"run": 2}
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {"notes.txt", "scores.parquet", "generations.parquet", "evidence.json"}


def test_a_failed_write_leaves_the_old_evidence(tables, tmp_path, monkeypatch):
    Evidence(*tables, {"run": 1}).write(tmp_path)

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(OSError, match="No space"):
        Evidence(*tables, {"run": 2}).write(tmp_path)
    assert Evidence.read(tmp_path).info == {"run": 1}
    assert not list(tmp_path.glob(".*"))


def test_info_must_be_json(tables, tmp_path):
    with pytest.raises(ValueError, match=r"evidence.json: cannot be written as JSON"):
        Evidence(*tables, {"seconds": float("nan")}).write(tmp_path)
    assert not list(tmp_path.iterdir())


def test_other_widths_are_cast_and_other_columns_left_out(tables):
    scores, generations = tables
    wide = with_column(scores, "index", scores["index"].to_pylist(), pa.int64())
    wide = with_column(wide, "logp", scores["logp"].to_pylist(), pa.large_list(pa.float64()))
    wide = with_column(wide, "text", scores["text"].to_pylist(), pa.large_string())
    wide = wide.append_column("mine", pa.array([0] * wide.num_rows))
    assert Evidence(wide, generations, {}).scores.equals(Evidence(scores, generations, {}).scores)


def test_optional_columns_are_kept_and_checked(tables):
    scores, generations = tables
    more = scores.append_column("ref_logp", scores["logp"]).append_column(
        "grad_norm", pa.array([1.0] * scores.num_rows)
    )
    assert Evidence(more, generations, {}).scores.column_names[-2:] == ["grad_norm", "ref_logp"]
    bad = with_column(more, "grad_norm", [1.0, -1.0] + [1.0] * (scores.num_rows - 2), pa.float32())
    with pytest.raises(ValueError, match=r"column `grad_norm`, row 1 .*at least 0, got -1.0"):
        Evidence(bad, generations, {})


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        (
            "logp",
            [[-0.5], [-1.0], [-2.0], [-3.0, -1.0], [-0.1]],
            r"`logp`, row 0 \(id 'ann/qa/0'\) has 1 entries for 2",
        ),
        ("logp", [[-0.5, np.nan], [-1.0], [-2.0], [-3.0, -1.0], [-0.1]], r"`logp`, row 0 .*got nan"),
        ("logp", [[-0.5, -0.2], [-1.0], [-2.0], [-3.0, -np.inf], [-0.1]], r"`logp`, row 3 .*got -inf"),
        ("logp", [[-0.5, -0.2], [-1.0], [-2.0], [-3.0, -1.0], [0.1]], r"`logp`, row 4 .*at most 0, got 0.1"),
        ("logp", [[-0.5, None], [-1.0], [-2.0], [-3.0, -1.0], [-0.1]], r"`logp`, row 0 .*null"),
        ("tokens", [[1, 2], [], [1], [1, 2], [1]], r"`tokens`, row 1 .*end token"),
        ("std", [[0.5, 0.5], [-0.5], [0.5], [0.5, 0.5], [0.5]], r"`std`, row 1 .*at least 0"),
        ("mean", [[0.5, 0.5], [np.inf], [0.5], [0.5, 0.5], [0.5]], r"`mean`, row 1 .*got inf"),
        ("kind", ["answer", "paraphrase", "wrong", "perturbed", "answer"], r"`kind`, row 2 .*got `wrong`"),
        ("modality", ["text", "text", "text", "text", "sound"], r"`modality`, row 4 .*text, image"),
        ("index", [0, 1, 0, 1, 0], r"`index`, row 1 .*count the perturbed"),
        ("id", ["a", "a", "a", "a", None], r"`id`, row 4"),
    ],
)
def test_a_bad_value_is_named(tables, column, values, message):
    scores, generations = tables
    with pytest.raises(ValueError, match=r"scores.parquet: column " + message):
        Evidence(with_column(scores, column, values), generations, {})


def test_missing_columns_wrong_types_and_repeated_rows_are_named(tables):
    scores, generations = tables
    with pytest.raises(ValueError, match=r"scores.parquet: column `hit` is missing. It has: set, id"):
        Evidence(scores.drop_columns(["hit"]), generations, {})
    with pytest.raises(ValueError, match=r"generations.parquet: column `sample` must be int32, got string"):
        Evidence(scores, with_column(generations, "sample", ["0"], pa.string()), {})
    with pytest.raises(ValueError, match=r"scores.parquet: 5 rows occur more than once, first set 'forget10', id"):
        Evidence(pa.concat_tables([scores, scores]), generations, {})
    with pytest.raises(ValueError, match=r"does not fit int32"):
        Evidence(with_column(scores, "index", [2**40] * 5, pa.int64()), generations, {})


def test_no_scores_is_an_error_and_no_generations_is_not(tables):
    scores, generations = tables
    with pytest.raises(ValueError, match=r"scores.parquet: has no rows"):
        Evidence(scores.slice(0, 0), generations, {})
    assert Evidence(scores, generations.slice(0, 0), {}).generations.num_rows == 0


@pytest.mark.parametrize("name", ["scores.parquet", "generations.parquet", "evidence.json"])
def test_a_file_that_is_missing_or_cut_short_is_named(tables, tmp_path, name):
    Evidence(*tables, {"model": "m"}).write(tmp_path)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(ValueError, match=rf"{name} cannot be read, it may be cut short"):
        Evidence.read(tmp_path)
    (tmp_path / name).unlink()
    with pytest.raises(ValueError, match=rf"{name} is missing"):
        Evidence.read(tmp_path)


def test_reading_names_the_folder(tables, tmp_path):
    with pytest.raises(ValueError, match="no such folder"):
        Evidence.read(tmp_path / "nowhere")
    Evidence(*tables, {}).write(tmp_path)
    pq.write_table(tables[0].drop_columns(["logp"]), tmp_path / "scores.parquet")
    with pytest.raises(ValueError, match=rf"{tmp_path}/scores.parquet: column `logp` is missing"):
        Evidence.read(tmp_path)
    (tmp_path / "evidence.json").write_text(json.dumps([1]))
    with pytest.raises(ValueError, match="expected a JSON object, got list"):
        Evidence.read(tmp_path)
