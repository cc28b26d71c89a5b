"""The first stage of an experiment: rows that are built, read from a benchmark's files, or taken as they are."""

import shutil
import sys
from functools import partial
from hashlib import file_digest
from pathlib import Path
from typing import TYPE_CHECKING

from unlearn_train import options
from unlearn_train.data import RowSets
from unlearn_train.experiment import Experiment
from unlearn_train.extras import need
from unlearn_train.settings import DataOptions
from unlearn_train.stages import Stage

if TYPE_CHECKING:
    from clear_data.faces import FaceSource

MADE_BY = ("clear-data", "Faker", "datasets", "diffusers", "pillow", "torch")
DATASET_FILES = ("rows.parquet", "sets.json")
COPIED = (*DATASET_FILES, "subjects.jsonl", "README.md", "build.json")


def data_stage(experiment: Experiment, *, quiet: bool = False) -> Stage:
    """Return the stage that puts the rows into `data/`.

    Raises:
        ValueError: the folder of the data holds neither rows nor the benchmark's files.
    """
    chosen = experiment.data
    if chosen.folder is not None and all((Path(chosen.folder) / name).is_file() for name in DATASET_FILES):
        folder = Path(chosen.folder)
        RowSets.read(folder)  # so that a fault is told of the user's file, not of a copy
        files = tuple(name for name in COPIED if (folder / name).is_file())
        return Stage("data", partial(_copy, folder), {"files": digest(folder, files)}, packages=())
    need("clear_data")
    if experiment.benchmark == "tofu":
        return Stage("data", partial(_read_tofu, chosen.folder), _files(chosen), packages=MADE_BY)
    if experiment.benchmark == "pulse" and chosen.folder is not None:
        return Stage(
            "data",
            partial(_read_mllmu, chosen.folder, chosen.size),
            {**_files(chosen), "size": chosen.size},
            packages=MADE_BY,
        )
    if chosen.folder is not None:
        raise ValueError(
            f"{chosen.folder} is no dataset folder: rows.parquet or sets.json is not there; `clear-data build` or "
            "`clear-data read` writes one."
        )
    given = {"faces": chosen.faces, "pool": chosen.pool, "pipeline": chosen.pipeline}
    folders = {name: digest(Path(path)) for name, path in given.items() if path is not None and Path(path).is_dir()}
    made_from = {"seed": experiment.seed, **options.plain(chosen), **folders}
    return Stage("data", partial(_build, chosen, experiment.seed, quiet), made_from, packages=MADE_BY)


def digest(folder: Path, names: tuple[str, ...] | None = None) -> dict[str, str]:
    """Return the SHA-256 of files in `folder`: of those named, or of all."""
    paths = [folder / name for name in names] if names else sorted(path for path in folder.rglob("*") if path.is_file())
    digests = {}
    for path in paths:
        with path.open("rb") as file:
            digests[path.relative_to(folder).as_posix()] = file_digest(file, "sha256").hexdigest()
    return digests


def _copy(folder: Path, out: Path) -> None:
    for name in COPIED:
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)


def _files(chosen: DataOptions) -> dict[str, object]:
    if chosen.folder is None or not Path(chosen.folder).is_dir():
        return {"hub": chosen.folder}
    return {"files": digest(Path(chosen.folder))}


def _read_tofu(folder: str | None, out: Path) -> None:
    from clear_data import read_tofu

    read_tofu(folder or "locuslab/TOFU").save(out / "made", overwrite=True)
    _move_up(out / "made")


def _read_mllmu(folder: str, size: int, out: Path) -> None:
    """The benchmark has nothing to say of a model's general ability: drawn scenes and facts of the world do."""
    from clear_data import read_mllmu, save
    from clear_data.scenes import make_scenes, scene_rows
    from clear_data.world import world_rows

    found = read_mllmu(folder)
    scenes = make_scenes(60, seed=0, prefix="unseen-scene")
    general = {"real_world": [row for scene in scenes for row in scene_rows(scene, size)], "world_facts": world_rows()}
    sets = {name: list(dict.fromkeys(row["subject"] for row in rows)) for name, rows in general.items()}
    rows = [*found.rows, *general["real_world"], *general["world_facts"]]
    save(out / "made", rows, found.sets | sets, subjects=found.subjects, overwrite=True)
    _move_up(out / "made")


def _build(chosen: DataOptions, seed: int, quiet: bool, out: Path) -> None:
    from clear_data import BuildOptions, build

    from unlearn_train.models import flush_denormals

    flush_denormals()  # drawing starts the threads that the models will be trained with
    wanted = BuildOptions(
        subjects=chosen.subjects,
        questions=chosen.questions,
        images=chosen.images,
        holdout=chosen.holdout,
        figures=chosen.figures,
        figure_questions=chosen.figure_questions,
        scenes=chosen.scenes,
        size=chosen.size,
        seed=seed,
    )
    # In a folder of its own: a build that was killed is taken up from what it left there.
    build(wanted, _faces(chosen), out / "made", None if quiet else _progress)
    _move_up(out / "made")


def _move_up(folder: Path) -> None:
    """Copied, then removed under another name: cut off anywhere, the next start finds the whole folder or none."""
    copied = folder.with_name("copied")
    if copied.exists():
        shutil.rmtree(copied)
    _copy(folder, folder.parent)
    folder.rename(copied)
    shutil.rmtree(copied)


def _faces(chosen: DataOptions) -> "FaceSource":
    from clear_data.faces import FolderFaces, PipelineFaces, PipelineOptions, PortraitFaces, PortraitPool

    from unlearn_train.models import default_device

    if chosen.faces is not None:
        return FolderFaces(chosen.faces)
    if chosen.pipeline is not None:
        pool = None if chosen.pool is None else PortraitPool.load(chosen.pool)
        return PipelineFaces(chosen.pipeline, pool=pool, options=PipelineOptions(device=default_device()))
    return PortraitFaces(chosen.pool)


def _progress(done: int, total: int) -> None:
    print(f"\rphotographs: {done}/{total}", end="" if done < total else "\n", file=sys.stderr, flush=True)
