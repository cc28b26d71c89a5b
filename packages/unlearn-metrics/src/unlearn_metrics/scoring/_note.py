"""What identifies a model, the rows that it is asked, and its surroundings."""

import hashlib
import json
import platform
from collections.abc import Mapping
from typing import Any

import torch
import transformers
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import unlearn_metrics
from unlearn_metrics.scoring._encoding import Encoder
from unlearn_metrics.scoring._requests import Requests


def describe(model: PreTrainedModel, encoder: Encoder) -> dict[str, Any]:
    """Return what identifies a model and its surroundings, ready for JSON."""
    return {
        "model": {"class": type(model).__name__, "type": model.config.model_type, "sha256": model_hash(model)},
        "tokenizer": {"class": type(encoder.tokenizer).__name__, "sha256": tokenizer_hash(encoder.tokenizer)},
        "template": encoder.template or encoder.processor.chat_template,
        "dtype": str(model.dtype).removeprefix("torch."),
        "device": _device(model),
        "versions": {
            "python": platform.python_version(),
            "torch": str(torch.__version__),
            "transformers": transformers.__version__,
            "unlearn_metrics": unlearn_metrics.__version__,
        },
    }


def inputs_of(note: Mapping[str, Any], asked: Requests, options: Mapping[str, Any]) -> dict[str, str]:
    """Return hashes of all that evidence depends on, by a name that says what it is."""
    digest = hashlib.sha256()
    for answer in asked.answers:
        digest.update(f"{answer.prompt.image_key} {answer.prompt.ids} {answer.ids}\n".encode())
    for question in asked.questions:
        digest.update(f"{question.prompt.image_key} {question.prompt.ids} {question.sample}\n".encode())
    for entry, number in [*asked.scored, *asked.asked]:
        digest.update(f"{entry.set_name} {entry.row['id']} {entry.row['subject']} {entry.more} {number}\n".encode())
    return {
        "model": str(note["model"]["sha256"]),
        "tokenizer": str(note["tokenizer"]["sha256"]),
        "data": digest.hexdigest(),
        "options": _hash([note["dtype"], note["template"], dict(options)]),
        "versions": _hash(note["versions"]),
    }


def model_hash(model: PreTrainedModel) -> str:
    """Return the SHA-256 of names, dtypes, shapes and bytes of the model's weights."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        # Reading the bytes as integers works for every dtype, bfloat16 included, which numpy lacks.
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def tokenizer_hash(tokenizer: PreTrainedTokenizerBase) -> str:
    """Return the SHA-256 of the tokenizer's vocabulary, special tokens and, where it has one, its pipeline."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    pipeline = None if backend is None else json.loads(backend.to_str())
    # Calls leave their padding and truncation behind in the pipeline; they are no property of the tokenizer.
    kept = {name: part for name, part in (pipeline or {}).items() if name not in ("padding", "truncation")}
    special = {name: str(value) for name, value in tokenizer.special_tokens_map.items()}
    return _hash([tokenizer.get_vocab(), special, kept])


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _device(model: PreTrainedModel) -> str:
    if model.device.type == "cuda":
        return f"{model.device} ({torch.cuda.get_device_name(model.device)})"
    return str(model.device)
