"""Models and dataset folders from disk, read with pyarrow and pillow alone."""

import difflib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from PIL import Image
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from unlearn_metrics.scoring._encoding import Processor
from unlearn_metrics.scoring._processes import local_device
from unlearn_metrics.scoring._requests import Row

COLUMNS = (
    *("id", "subject", "task", "image", "question", "answer"),
    *("paraphrased_answer", "perturbed_answers", "options", "keywords"),
)
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | Path, *, dtype: str = "float32", device: str | None = None, trust_remote_code: bool = False
) -> tuple[PreTrainedModel, Processor]:
    """Load a model and its processor (vision-language models) or tokenizer (language models).

    Args:
        name: Folder, or name on the Hugging Face hub. Weights are read from safetensors alone: a pickle can run code.
        dtype: Of the weights: `float32`, `bfloat16` or `float16`.
        device: Where to, such as `cuda:1`; the first GPU, or else the CPU, where None.
        trust_remote_code: Run code that comes with the model. It can do anything, so it is off unless asked for.

    Returns:
        The model, in evaluation mode, and its processor or tokenizer.

    Raises:
        ValueError: If there is no such model, or it is of no kind that can be loaded.
    """
    if dtype not in _DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(_DTYPES)}, got {dtype!r}.")
    device = device or local_device()
    code = {"trust_remote_code": trust_remote_code}
    try:
        is_vision = AutoConfig.from_pretrained(name, **code).model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        auto: Any = AutoModelForImageTextToText if is_vision else AutoModelForCausalLM
        how: dict[str, Any] = {"dtype": _DTYPES[dtype], "use_safetensors": True, "output_loading_info": True}
        model, loaded = auto.from_pretrained(name, **how, **code)
        processor = (AutoProcessor if is_vision else AutoTokenizer).from_pretrained(name, **code)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise ValueError(
            f"{name} cannot be loaded as a model ({reason}). "
            "Give a folder with config.json, safetensors and a tokenizer, or a name on the hub."
        ) from error
    if loaded["missing_keys"]:
        raise ValueError(
            f"{name} lacks weights, {min(loaded['missing_keys'])} among them, and would answer at random. "
            "Give a folder that holds the whole model."
        )
    return model.to(device).eval(), processor


def context_of(model: PreTrainedModel) -> int | None:
    """Return how many tokens `model` can read, or None where its config sets no limit."""
    context: int | None = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    return context


def is_wrapped(model: PreTrainedModel) -> bool:
    """Return whether something was put around the model's forward, such as a guard that looks at what is asked.

    Such a model is asked plainly: what is around it may act on some prompts alone, so that no trial shows whether a
    shortcut goes past it.
    """
    return bool(model._forward_hooks or model._forward_pre_hooks or "forward" in vars(model))


def load_sets(folder: str | Path, names: Iterable[str]) -> dict[str, list[Row]]:
    """Read sets of a dataset folder (`rows.parquet` and `sets.json`).

    Args:
        folder: The dataset folder.
        names: Which sets.

    Returns:
        The rows of each set in the order of the file, images decoded as RGB.

    Raises:
        ValueError: If a file is missing or cut short, there is no such set, a set is empty, or an image is unreadable.
    """
    folder = Path(folder)
    sets = _read_sets(folder / "sets.json")
    wanted = {name: frozenset(_members(name, sets, folder)) for name in names}
    records = _read_rows(folder / "rows.parquet", frozenset().union(*wanted.values()))
    rows = [{**record, "image": _decode(record, folder)} for record in records]
    loaded: dict[str, list[Row]] = {
        name: [row for row in rows if row["subject"] in members] for name, members in wanted.items()
    }
    if empty := [name for name, found in loaded.items() if not found]:
        raise ValueError(f"set `{empty[0]}` of {folder} has no rows, so there is nothing to measure. Leave it out.")
    return loaded


def _read_sets(path: Path) -> dict[str, list[str]]:
    try:
        sets = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"{path} cannot be read. A dataset folder holds rows.parquet and sets.json.") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}). Write it again.") from None
    if not isinstance(sets, dict) or not all(isinstance(members, list) for members in sets.values()):
        raise ValueError(f'{path} must map each set to a list of subjects, such as {{"forget10": ["subject"]}}.')
    return sets


def _members(name: str, sets: Mapping[str, list[str]], folder: Path) -> list[str]:
    if name in sets:
        return sets[name]
    near = difflib.get_close_matches(name, sets, 1)
    hint = f"Did you mean `{near[0]}`? " if near else ""
    raise ValueError(f"there is no set `{name}` in {folder}. {hint}It has {', '.join(sorted(sets))}.")


def _read_rows(path: Path, subjects: frozenset[str]) -> list[dict[str, Any]]:
    try:
        with path.open("rb") as file:
            table = pq.read_table(file)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error.strerror or error}). A dataset folder holds it.") from None
    except pa.ArrowException as error:
        raise ValueError(f"{path} cannot be read, it may be cut short ({error}). Write it again.") from None
    if missing := [name for name in COLUMNS if name not in table.column_names]:
        raise ValueError(f"{path}: column `{missing[0]}` is missing. It has: {', '.join(table.column_names)}.")
    chosen = pc.is_in(table["subject"], value_set=pa.array(sorted(subjects), pa.string()))
    records: list[dict[str, Any]] = table.select(COLUMNS).filter(chosen).to_pylist()
    return records


def _decode(record: Mapping[str, Any], folder: Path) -> Image.Image | None:
    """The image of a row, stored as Hugging Face `datasets` does: bytes, or else a path."""
    stored = record["image"]
    if stored is None:
        return None
    try:
        source = io.BytesIO(stored["bytes"]) if stored["bytes"] else _inside(folder, stored["path"])
        with Image.open(source) as image:
            return image.convert("RGB")
    except (OSError, SyntaxError, TypeError, KeyError, ValueError, Image.DecompressionBombError) as error:
        raise ValueError(
            f"the image of row {record['id']} cannot be read ({error}). Mend the row, or remove it."
        ) from error


def _inside(folder: Path, path: str) -> Path:
    resolved = (folder / path).resolve()
    if not resolved.is_relative_to(folder.resolve()):
        raise ValueError(f"its path {path!r} leaves the dataset's folder")
    return resolved
