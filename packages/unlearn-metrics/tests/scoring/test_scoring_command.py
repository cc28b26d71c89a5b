import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from safetensors.torch import load_file, save_file
from unlearn_metrics import Evidence
from unlearn_metrics.cli import main
from unlearn_metrics.scoring import load_model, load_sets

SETS = {"forget10": ["s0"], "retain90": ["s1", "s2"], "nobody": []}


def stored(row):
    if row["image"] is None:
        return row
    buffer = io.BytesIO()
    row["image"].save(buffer, "PNG")
    return {**row, "image": {"bytes": buffer.getvalue(), "path": None}}


@pytest.fixture
def write_data(make_rows, tmp_path):
    def write(change=lambda rows: rows):
        folder = tmp_path / "data"
        folder.mkdir(exist_ok=True)
        rows = change([stored(row) for row in make_rows(9, images=True)])
        image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        columns = {name: pa.string() for name in rows[0]} | {"image": image}
        columns |= {name: pa.list_(pa.string()) for name in {"perturbed_answers", "options", "keywords"} & set(rows[0])}
        pq.write_table(pa.Table.from_pylist(rows, schema=pa.schema(list(columns.items()))), folder / "rows.parquet")
        (folder / "sets.json").write_text(json.dumps(SETS))
        return folder

    return write


@pytest.fixture(scope="session")
def folders(models, tmp_path_factory):
    """Model folders by name."""
    written = {}
    for name in ("llava", "llama"):
        written[name] = tmp_path_factory.mktemp("models") / name
        for part in models[name]:
            part.save_pretrained(written[name])
    return written


def score(folders, data, *more, model="llava", sets="forget10,retain90"):
    options = ["--max-new-tokens", "2", *map(str, more)]
    return main(["score", "--model", str(folders.get(model, model)), "--data", str(data), "--sets", sets, *options])


def test_command_writes_what_the_functions_give(folders, write_data, models, tmp_path, capsys):
    data = write_data()
    assert score(folders, data, "--as", "forget10=forget", "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    assert "forget, retain90" in said.out
    assert said.err == ""
    evidence = Evidence.read(tmp_path / "out")
    assert set(evidence.scores["set"].to_pylist()) == {"forget", "retain90"}
    assert evidence.info["source"]["sets"] == {"forget10": "forget", "retain90": "retain90"}
    model, processor = models["llava"]
    from unlearn_metrics.scoring import score as score_rows

    wanted = score_rows(model, processor, load_sets(data, ["forget10"])["forget10"], set_name="forget")
    for got, logp in zip(evidence.scores["logp"].to_pylist(), wanted["logp"].to_pylist(), strict=False):
        assert got == pytest.approx(logp, abs=1e-5)


def test_command_does_text_models(folders, write_data, make_rows, tmp_path):
    data = write_data(lambda rows: [{**row, "image": None} for row in rows])
    assert score(folders, data, "--out", tmp_path / "out", model="llama") == 0
    assert set(Evidence.read(tmp_path / "out").scores["modality"].to_pylist()) == {"text"}


def test_parser_needs_no_torch():
    code = "import sys, unlearn_metrics.cli as c; c._parser(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def cut_short(folder):
    path = folder / "rows.parquet"
    path.write_bytes(path.read_bytes()[:-50])


def break_image(rows):
    row = next(row for row in rows if row["image"])
    row["image"] = {"bytes": row["image"]["bytes"][:60], "path": None}
    return rows


def point_outside(rows):
    row = next(row for row in rows if row["image"])
    row["image"] = {"bytes": None, "path": "../secret.png"}
    return rows


@pytest.mark.parametrize(
    ("change", "break_folder", "options", "says"),
    [
        (None, None, {"sets": "forget1"}, "no set `forget1`.*Did you mean `forget10`"),
        (None, None, {"sets": "nobody"}, "set `nobody`.* has no rows"),
        (None, None, {"sets": ","}, "names no set"),
        (None, None, {"model": "/nowhere/model"}, "/nowhere/model cannot be loaded as a model"),
        (None, None, {"model": "."}, "cannot be loaded as a model"),
        (None, cut_short, {}, "rows.parquet cannot be read, it may be cut short"),
        (None, lambda folder: (folder / "rows.parquet").unlink(), {}, "rows.parquet cannot be read.*No such file"),
        (None, lambda folder: (folder / "sets.json").unlink(), {}, "sets.json cannot be read"),
        (None, lambda folder: (folder / "sets.json").write_text('{"forget10": ["s0"'), {}, "sets.json is no JSON"),
        (None, lambda folder: (folder / "sets.json").write_text("[]"), {}, "sets.json must map each set"),
        (break_image, None, {}, "image of row s0/qa/1 cannot be read"),
        (point_outside, None, {}, "image of row s0/qa/1 .*leaves the dataset's folder"),
        (lambda rows: [{k: v for k, v in row.items() if k != "keywords"} for row in rows], None, {}, "`keywords`"),
    ],
)
def test_bad_input_is_one_line(change, break_folder, options, says, folders, write_data, tmp_path, capsys):
    data = write_data(change) if change else write_data()
    if break_folder:
        break_folder(data)
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    assert score(folders, data, "--out", tmp_path / "out", **options) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert re.search(says, line), line
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--as", "retain=other"], "`--as` must be SET=NAME"),
        (["--as", "forget10"], "`--as` must be SET=NAME"),
        (["--as", "forget10=retain90"], "two sets would have one name"),
        (["--dtype", "float8"], "`dtype` must be one of"),
        (["--token-budget", "0"], "`token_budget` must be positive"),
        (["--template", "Q: {question}"], "`template` must hold"),
    ],
)
def test_bad_options_are_one_line(options, says, folders, write_data, tmp_path, capsys):
    assert score(folders, write_data(), *options, "--out", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert says in line


def test_pickled_weights_are_not_loaded(models, tmp_path):
    import torch

    model, tokenizer = models["llama"]
    model.config.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot be loaded as a model"):
        load_model(tmp_path)


def test_image_paths_inside_the_folder_are_read(write_data):
    def point_inside(rows):
        return [{**row, "image": row["image"] and {"bytes": None, "path": "images/a.png"}} for row in rows]

    data = write_data(point_inside)
    (data / "images").mkdir()
    Image.new("L", (8, 8), 7).save(data / "images" / "a.png")
    images = [row["image"] for row in load_sets(data, ["forget10"])["forget10"] if row["image"]]
    assert images
    assert {image.mode for image in images} == {"RGB"}


def test_a_model_without_all_its_weights_is_not_scored(folders, tmp_path):
    folder = Path(shutil.copytree(folders["llama"], tmp_path / "lacking"))
    weights = load_file(folder / "model.safetensors")
    lacking = next(name for name in weights if "down_proj" in name)
    del weights[lacking]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=f"lacks weights, {lacking} among them"):
        load_model(folder)
