import shutil
from pathlib import Path

import pytest
from unlearn_train import datasource
from unlearn_train.experiment import Experiment
from unlearn_train.settings import DataOptions
from unlearn_train.stages import Run


def experiment(folder: Path) -> Experiment:
    return Experiment(benchmark="clear", data=DataOptions(folder=str(folder)), methods={"ga": {}})


def test_rows_that_are_there_are_copied_without_what_else_lies_beside_them(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "key").write_text("not ours")
    (own / "stage.json").write_text("{}")
    stage = datasource.data_stage(experiment(own))
    Run(tmp_path / "run", quiet=True).make([stage])
    copied = tmp_path / "run" / "data"
    assert (copied / "rows.parquet").read_bytes() == (own / "rows.parquet").read_bytes()
    assert not (copied / "key").exists()
    assert Run(tmp_path / "run").record(stage) is not None


def test_a_fault_is_told_of_the_users_file(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    (own / "rows.parquet").write_bytes((own / "rows.parquet").read_bytes()[:500])
    with pytest.raises(ValueError, match=str(own / "rows.parquet")):
        datasource.data_stage(experiment(own))


def test_the_key_follows_the_content(folder, tmp_path):
    own = shutil.copytree(folder, tmp_path / "own")
    before = datasource.data_stage(experiment(own)).key
    assert datasource.data_stage(experiment(own)).key == before
    (own / "sets.json").write_text((own / "sets.json").read_text() + "\n")
    assert datasource.data_stage(experiment(own)).key != before


@pytest.mark.parametrize("cut_off", ["rename", "rmtree"])
def test_made_rows_cut_off_while_they_are_moved_are_never_half(cut_off, folder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    made = shutil.copytree(folder, out / "made")

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(*{"rename": (Path, "rename"), "rmtree": (shutil, "rmtree")}[cut_off], killed)
    with pytest.raises(KeyboardInterrupt):
        datasource._move_up(made)
    monkeypatch.undo()
    whole = made if made.exists() else out
    assert all((whole / name).is_file() for name in datasource.DATASET_FILES)


def test_photographs_and_a_pipeline_exclude_each_other():
    with pytest.raises(ValueError, match="`pipeline` has nothing to do"):
        DataOptions(faces="photographs", pipeline="a/pipeline")


def test_a_pipeline_starts_from_the_portraits_that_are_named(tmp_path):
    diffusion = pytest.importorskip("clear_data.faces.diffusion", reason="needs the extra [data]")
    pytest.importorskip("diffusers", reason="needs the extra [data]")
    pool = pytest.importorskip("clear_data.faces.pool").SHIPPED
    (tmp_path / "model_index.json").write_text("{}")
    drawn = datasource._faces(DataOptions(pipeline=str(tmp_path), pool=str(pool)))
    assert isinstance(drawn, diffusion.PipelineFaces)
    assert drawn.persons()
    assert datasource._faces(DataOptions(pipeline=str(tmp_path))).persons() is None
