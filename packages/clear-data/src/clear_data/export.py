"""Writes a dataset in the form of CLEAR: its 21 configurations, each a Parquet file of split `train`."""

import json
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clear_data.files import fresh_folder, put_in_place, require_replaceable, write_file
from clear_data.splits import PERCENTS
from clear_data.table import SUBJECTS, RowSets, load

if TYPE_CHECKING:
    import datasets

_PERSON = ("image", "caption", "name")
_PERTURBED = ("image", "question", "caption", "name", "perturbed_captions", "paraphrased_caption", "perturbed_names")
_MIXED = ("image", "question", "answer", "caption", "name")
_FACES = ("image", "answer", "options")
_WORLD = ("image", "question", "answer", "prompt", "options")
_FILE = "train-00000-of-00001.parquet"

Rows = list[dict[str, Any]]


def export_clear(source: str | Path, out: str | Path, *, overwrite: bool = False) -> dict[str, int]:
    """Write a built dataset in the form of CLEAR.

    A configuration `X` is a folder `X` with one Parquet file; the README names them for `datasets.load_dataset`.
    Rows of `+tofu` configurations are photographs with their caption, then text questions without an image.

    Args:
        source: a folder that `build` wrote.
        out: where to; appears when everything is written.
        overwrite: replace what is at `out`.

    Returns:
        The rows of each configuration.

    Raises:
        ValueError: `source` lacks something that CLEAR has, or `out` is taken.
    """
    source, out = Path(source), Path(out)
    if out.exists() and not overwrite:
        raise ValueError(f"{out} is already there; choose another folder or --force to replace it.")
    require_replaceable(out, "full+tofu")
    configurations = _configurations(load(source), _read_profiles(source / SUBJECTS))
    unfinished = fresh_folder(out.with_name(f"{out.name}.tmp"))
    try:
        for name, (columns, rows) in configurations.items():
            _write(unfinished / name, columns, rows)
        write_file(unfinished / "README.md", _readme(configurations).encode())
        put_in_place(unfinished, out)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
    return {name: len(rows) for name, (_, rows) in configurations.items()}


def _configurations(data: RowSets, profiles: Mapping[str, Any]) -> dict[str, tuple[Sequence[str], Rows]]:
    wanted = [
        f"{kind}{number:02}"
        for percent in PERCENTS
        for kind, number in (("forget", percent), ("retain", 100 - percent))
    ]
    needed = [*wanted, "real_faces", "real_world"]
    missing = [name for name in needed if name not in data.sets]
    if missing:
        raise ValueError(
            f"CLEAR has the set {missing[0]}, this dataset has not; build it with figures and unseen scenes."
        )
    photographs = {name: _photographs(data, name, profiles) for name in wanted}
    mixed = {name: photographs[name] + _texts(data, name, profiles) for name in wanted}
    everyone, everything = photographs["forget10"] + photographs["retain90"], mixed["forget10"] + mixed["retain90"]
    result: dict[str, tuple[Sequence[str], Rows]] = {
        "default": (_MIXED, everything),
        "full": (_PERSON, everyone),
        "full+tofu": (_MIXED, everything),
    }
    for name in wanted:
        result |= {name: (_PERSON, photographs[name]), f"{name}+tofu": (_MIXED, mixed[name])}
        if name.startswith("forget"):
            result[f"{name}_perturbed"] = (_PERTURBED, photographs[name])
    result["retain_perturbed"] = (_PERTURBED, photographs["retain90"])
    result["real_faces"] = (_FACES, _faces(data, profiles))
    result["real_world"] = (_WORLD, _world(data))
    return result


def _photographs(data: RowSets, set_name: str, profiles: Mapping[str, Any]) -> Rows:
    return [
        {
            "image": row["image"],
            "question": row["question"],
            "answer": None,
            "caption": row["answer"],
            "name": profiles[row["subject"]]["name"],
            "perturbed_captions": row["perturbed_answers"],
            "paraphrased_caption": row["paraphrased_answer"],
            "perturbed_names": list(profiles[row["subject"]]["decoys"]),
        }
        for row in _stored(data.select(set_name, ["caption"]))
    ]


def _texts(data: RowSets, set_name: str, profiles: Mapping[str, Any]) -> Rows:
    return [
        {
            "image": None,
            "question": row["question"],
            "answer": row["answer"],
            "caption": None,
            "name": profiles[row["subject"]]["name"],
        }
        for row in _stored(data.select(set_name, ["qa"]))
    ]


def _faces(data: RowSets, profiles: Mapping[str, Any]) -> Rows:
    rows = []
    for row in _stored(data.select("real_faces", ["caption"])):
        profile = profiles[row["subject"]]
        options = _shuffled([profile["name"], *profile["decoys"]], row["id"])
        rows.append({"image": row["image"], "answer": profile["name"], "options": options})
    return rows


def _world(data: RowSets) -> Rows:
    rows = []
    for row in _stored(data.select("real_world", ["vqa"])):
        options = _shuffled([row["answer"], *row["perturbed_answers"]], row["id"])
        rows.append({**row, "prompt": row["question"], "options": options})
    return rows


def _shuffled(options: list[str], key: str) -> list[str]:
    return random.Random(key).sample(options, len(options))


def _stored(rows: "datasets.Dataset") -> Rows:
    from datasets import Image

    stored: Rows = rows.cast_column("image", Image(decode=False)).to_list()
    return stored


def _read_profiles(path: Path) -> dict[str, Any]:
    try:
        profiles = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return {profile["id"]: profile for profile in profiles}
    except FileNotFoundError:
        raise ValueError(f"{path} is missing; CLEAR needs the names in it, which `clear-data build` writes.") from None
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} is truncated or no list of profiles ({error}); build the dataset anew.") from error


def _write(folder: Path, columns: Sequence[str], rows: Rows) -> None:
    import pyarrow as pa
    from datasets import Features, Image, List, Value
    from pyarrow import parquet

    lists = {"options", "perturbed_captions", "perturbed_names"}
    types: dict[str, Any] = {name: List(Value("string")) if name in lists else Value("string") for name in columns}
    schema = Features(types | {"image": Image()}).arrow_schema
    folder.mkdir(parents=True)
    parquet.write_table(pa.Table.from_pylist(rows, schema=schema), folder / _FILE, compression="zstd")


def _readme(configurations: Mapping[str, Any]) -> str:
    entries = [
        f'- config_name: "{name}"\n  data_files:\n  - split: train\n    path: "{name}/*.parquet"'
        for name in configurations
    ]
    return "\n".join(["---", "configs:", *entries, "---", "", "# Fictitious people, in the form of CLEAR", ""])
