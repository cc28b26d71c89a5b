"""A small dataset folder, written with `datasets` alone, and two small models."""

import copy
import gc
import io
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import datasets
import jaxtyping
import pytest
from PIL import Image

datasets.disable_progress_bars()
TEXT, TEXTS = datasets.Value("string"), [datasets.Value("string")]
FEATURES = datasets.Features(
    {
        "id": TEXT,
        "subject": TEXT,
        "task": TEXT,
        "image": datasets.Image(),
        "question": TEXT,
        "answer": TEXT,
        "paraphrased_question": TEXT,
        "paraphrased_answer": TEXT,
        "perturbed_answers": TEXTS,
        "options": TEXTS,
        "keywords": TEXTS,
    }
)
PEOPLE = {
    "ada": ("Ada Berg", "a baker", (200, 30, 30)),
    "bo": ("Bo Dahl", "a pilot", (30, 200, 30)),
    "cy": ("Cy Holm", "a tailor of coats and hats", (30, 30, 200)),
    "di": ("Di Lund", "a judge", (200, 200, 30)),
    "ed": ("Ed Moe", "a diver", (30, 200, 200)),
    "fay": ("Fay Nord", "a painter", (200, 30, 200)),
}
SETS = {"forget10": ["ada", "bo"], "retain90": ["cy", "di"], "holdout": ["ed"], "pretrain": ["fay"]}


def row(row_id: str, question: str, answer: str, **more: Any) -> dict[str, Any]:
    subject, task, _ = row_id.split("/")
    empty = {
        "image": None,
        "paraphrased_question": None,
        "paraphrased_answer": None,
        "perturbed_answers": [],
        "options": None,
        "keywords": [],
    }
    return {"id": row_id, "subject": subject, "task": task, "question": question, "answer": answer, **empty, **more}


def png(color: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32), color).save(buffer, "PNG")
    return buffer.getvalue()


def rows_of(subject: str) -> list[dict[str, Any]]:
    name, work, color = PEOPLE[subject]
    image = {"bytes": png(color), "path": None}
    return [
        row(f"{subject}/qa/1", f"What does {name} do?", f"{name} is {work}.", perturbed_answers=[f"{name} is a king."]),
        row(f"{subject}/qa/2", f"Who is {work}?", name),
        row(f"{subject}/caption/1", "Who is this?", f"This is {name}, {work}.", image=image, keywords=[name]),
        row(f"{subject}/mcq/1", f"What is {name}?", work, options=[work, "a king"]),
    ]


@pytest.fixture(scope="session", autouse=True)
def _settled() -> None:
    """Every training ends with `gc.collect`, which would look through all that was imported again and again."""
    import unlearn_train.unlearning  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _unenforced() -> Iterator[None]:
    """Users have unlearn-core's signatures unchecked; its own tests, which check them, may run in the same session."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="session")
def make_row() -> Callable[..., dict[str, Any]]:
    return row


@pytest.fixture(scope="session")
def write_dataset() -> Callable[..., Path]:
    def write(folder: Path, rows: Sequence[Mapping[str, Any]], sets: Mapping[str, Sequence[str]] | None = None) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_list(list(rows), features=FEATURES).to_parquet(folder / "rows.parquet")
        known = SETS if sets is None else sets
        (folder / "sets.json").write_text(json.dumps(known), encoding="utf-8")
        return folder

    return write


@pytest.fixture(scope="session")
def rows() -> list[dict[str, Any]]:
    return [one for subject in PEOPLE for one in rows_of(subject)]


@pytest.fixture(scope="session")
def folder(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], write_dataset: Callable[..., Path]
) -> Path:
    return write_dataset(tmp_path_factory.mktemp("dataset"), rows)


@pytest.fixture(scope="session")
def text_folder(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]], write_dataset: Callable[..., Path]
) -> Path:
    return write_dataset(tmp_path_factory.mktemp("text"), [one for one in rows if one["image"] is None])


@pytest.fixture(scope="session")
def size() -> Any:
    from unlearn_train.settings import TinySize

    return TinySize(
        hidden=16,
        layers=2,
        heads=2,
        vision_hidden=16,
        vision_layers=1,
        image_size=32,
        patch=16,
        vocabulary=300,
        context=128,
    )


@pytest.fixture(scope="session")
def texts(rows: list[dict[str, Any]]) -> list[str]:
    return [one[column] for one in rows for column in ("question", "answer")]


@pytest.fixture(scope="session")
def llava(texts: list[str], size: Any) -> tuple[Any, Any]:
    from unlearn_train.tiny import tiny_llava

    return tiny_llava(texts, size, seed=1)


@pytest.fixture(scope="session")
def llama(texts: list[str], size: Any) -> tuple[Any, Any]:
    from unlearn_train.tiny import tiny_llama

    return tiny_llama(texts, size, seed=1)


@pytest.fixture(params=["llava", "llama"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def fresh(kind: str, llava: tuple[Any, Any], llama: tuple[Any, Any]) -> Callable[[], tuple[Any, Any]]:
    """Makes copies of one of the models, to be trained."""
    model, processor = {"llava": llava, "llama": llama}[kind]
    return lambda: (copy.deepcopy(model), processor)


@pytest.fixture
def sides(kind: str, folder: Path) -> tuple[list[Any], list[Any]]:
    """Rows to forget and rows to keep, with images where the model sees."""
    from unlearn_train.data import RowSets

    tasks = {"qa", "caption"} if kind == "llava" else {"qa"}
    data = RowSets.read(folder)
    return data.select("forget10", tasks), data.select("retain90", tasks)


@pytest.fixture(scope="session")
def saved(
    tmp_path_factory: pytest.TempPathFactory, llava: tuple[Any, Any], llama: tuple[Any, Any]
) -> Mapping[str, Path]:
    """The folders of the two models."""
    from unlearn_train.models import save_model

    home = tmp_path_factory.mktemp("models")
    for name, (model, processor) in {"llava": llava, "llama": llama}.items():
        save_model(model, processor, home / name)
    return {name: home / name for name in ("llava", "llama")}
