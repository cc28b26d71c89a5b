from pathlib import Path

import datasets
import pytest
from clear_data import save
from clear_data.export import export_clear

CONFIGURATIONS = {
    *("default", "full", "full+tofu", "retain_perturbed", "real_faces", "real_world"),
    *(f"forget{percent}{kind}" for percent in ("01", "05", "10") for kind in ("", "+tofu", "_perturbed")),
    *(f"retain{percent}{kind}" for percent in ("99", "95", "90") for kind in ("", "+tofu")),
}


@pytest.fixture(scope="module")
def exported(built, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, int]]:
    out = tmp_path_factory.mktemp("export") / "clear"
    return out, export_clear(built[0], out)


def read(exported, name: str, tmp_path: Path) -> datasets.Dataset:
    return datasets.load_dataset(str(exported[0]), name, split="train", cache_dir=str(tmp_path))


def test_the_21_configurations(exported) -> None:
    out, counts = exported
    assert len(CONFIGURATIONS) == 21
    assert set(counts) == CONFIGURATIONS == {path.name for path in out.iterdir()} - {"README.md"}
    assert set(datasets.get_dataset_config_names(str(out))) == CONFIGURATIONS


def test_photographs(exported, built, tmp_path: Path) -> None:
    rows = read(exported, "forget10", tmp_path)
    ours = built[1].select("forget10", ["caption"])
    assert rows.column_names == ["image", "caption", "name"]
    assert rows["caption"][:] == ours["answer"][:]
    assert rows[0]["image"].tobytes() == ours[0]["image"].tobytes()
    assert rows[0]["name"] in rows[0]["caption"]


def test_perturbed(exported, tmp_path: Path) -> None:
    first = read(exported, "forget01_perturbed", tmp_path)[0]
    assert len(first["perturbed_captions"]) == len(first["perturbed_names"]) == 5
    for name, caption in zip(first["perturbed_names"], first["perturbed_captions"], strict=True):
        assert name in caption
    assert first["name"] in first["paraphrased_caption"]


def test_with_tofu(exported, tmp_path: Path) -> None:
    rows = read(exported, "full+tofu", tmp_path).to_list()
    assert len(rows) == 4 * (3 + 10)
    for row in rows:
        assert (row["image"] is None) == (row["caption"] is None) == (row["answer"] is not None)
        assert row["question"]


def test_real_sets(exported, tmp_path: Path) -> None:
    faces = read(exported, "real_faces", tmp_path)[0]
    assert faces["options"].count(faces["answer"]) == 1
    assert len(faces["options"]) == 6
    world = read(exported, "real_world", tmp_path)[0]
    assert world["options"].count(world["answer"]) == 1
    assert world["prompt"] == world["question"]


def test_holdout_is_left_out(exported, built, tmp_path: Path) -> None:
    names = set(read(exported, "full", tmp_path)["name"][:])
    assert {name.lower().replace(" ", "-") for name in names} == {
        *built[1].sets["forget10"],
        *built[1].sets["retain90"],
    }


def test_repeatable_and_not_overwritten(exported, built, tmp_path: Path) -> None:
    export_clear(built[0], tmp_path / "again")
    for path in exported[0].rglob("*.parquet"):
        assert (tmp_path / "again" / path.relative_to(exported[0])).read_bytes() == path.read_bytes()
    with pytest.raises(ValueError, match="already there"):
        export_clear(built[0], tmp_path / "again")


def test_a_dataset_that_lacks_something(tmp_path: Path, row, built) -> None:
    save(tmp_path / "text", [row()], {"forget10": ["ada-obi"]})
    with pytest.raises(ValueError, match=r"subjects\.jsonl is missing"):
        export_clear(tmp_path / "text", tmp_path / "out")
    (tmp_path / "text" / "subjects.jsonl").write_text('{"id": "ada')
    with pytest.raises(ValueError, match=r"subjects\.jsonl is truncated"):
        export_clear(tmp_path / "text", tmp_path / "out")
    (tmp_path / "text" / "subjects.jsonl").write_text('{"id": "ada-obi"}\n')
    with pytest.raises(ValueError, match="CLEAR has the set forget01, this dataset has not"):
        export_clear(tmp_path / "text", tmp_path / "out")
    assert not (tmp_path / "out").exists()
