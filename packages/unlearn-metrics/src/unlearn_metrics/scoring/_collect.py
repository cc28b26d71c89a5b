"""Evidence on a model: scores and generations of every set, and a note of how they were made."""

import hashlib
import json
import platform
import resource
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyarrow as pa
import torch
import transformers
from tqdm.auto import tqdm
from transformers import PreTrainedModel, PreTrainedTokenizerBase

import unlearn_metrics
from unlearn_metrics.evidence import Evidence
from unlearn_metrics.scoring._encoding import Encoder, Processor
from unlearn_metrics.scoring._generate import generate
from unlearn_metrics.scoring._score import Report, Row, score


def collect_evidence(
    model: PreTrainedModel,
    processor: Processor,
    sets: Mapping[str, Iterable[Row]],
    *,
    max_new_tokens: int = 48,
    batch_size: int = 64,
    token_budget: int = 2**13,
    template: str | None = None,
    share_prompts: bool | None = None,
    progress: bool = True,
    info: Mapping[str, Any] | None = None,
) -> Evidence:
    """Score and question a model on sets of rows.

    Args:
        model: Vision-language or language model; it is put in evaluation mode.
        processor: Its processor or tokenizer.
        sets: Rows with the columns of the rows' contract by name of the set; `image` is a PIL image or None.
        max_new_tokens: Where a generated answer is cut that does not end by itself.
        batch_size: Prompts in a batch of generation.
        token_budget: Tokens in a batch of scoring, padding included.
        template: Plain text of an exchange, for models without a chat template, see `Encoder`.
        share_prompts: Whether a prompt is read once for all its answers, see `Forward`.
        progress: Whether to show progress on stderr; never where stderr is no terminal.
        info: Further entries for `evidence.json`, such as the model's name.

    Returns:
        The evidence. Its `info` holds the hashes of model and tokenizer, template, decoding, options, versions, seconds
        and peak memory.

    Raises:
        ValueError: If there is no set, a set is empty, or a row cannot be encoded; the message names set and row.
    """
    listed = {name: list(rows) for name, rows in sets.items()}
    _check(listed)
    started = time.monotonic()
    encoder = Encoder(processor, template=template)
    scoring: dict[str, Any] = {"token_budget": token_budget, "share_prompts": share_prompts}
    decoding: dict[str, Any] = {"max_new_tokens": max_new_tokens, "batch_size": batch_size}
    scores, generations = [], []
    _reset_peak_memory()
    for name, rows in listed.items():
        with _named(name):
            with _progress(f"{name}: scoring", progress) as report:
                scores.append(score(model, encoder, rows, set_name=name, report=report, **scoring))
            with _progress(f"{name}: generating", progress) as report:
                generations.append(generate(model, encoder, rows, set_name=name, report=report, **decoding))
    note = {
        **describe(model, encoder),
        "sets": {name: len(rows) for name, rows in listed.items()},
        "decoding": {"method": "greedy", "max_new_tokens": max_new_tokens},
        "scoring": scoring,
        "seconds": round(time.monotonic() - started, 3),
        "peak_memory_bytes": _peak_memory(),
        **(info or {}),
    }
    return Evidence(pa.concat_tables(scores), pa.concat_tables(generations), note)


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
    text = json.dumps([tokenizer.get_vocab(), special, kept], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _check(sets: Mapping[str, list[Row]]) -> None:
    if not sets:
        raise ValueError("there is no set to score. Name at least one.")
    if empty := [name for name, rows in sets.items() if not rows]:
        raise ValueError(f"set `{empty[0]}` has no rows, so there is nothing to measure. Leave it out, or fill it.")


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise ValueError(f"set `{name}`: {error}") from error


@contextmanager
def _progress(what: str, shown: bool) -> Iterator[Report]:
    """A line on the terminal: answers done, time left, tokens a second."""
    shown = shown and sys.stderr.isatty()
    started, seen = time.monotonic(), 0
    with tqdm(desc=what, unit=" answers", disable=not shown, leave=False, file=sys.stderr) as bar:

        def report(done: int, total: int, tokens: int) -> None:
            nonlocal seen
            seen += tokens
            bar.total = total
            bar.set_postfix_str(f"{seen / (time.monotonic() - started):,.0f} tokens/s", refresh=False)
            bar.update(done - bar.n)

        yield report


def _device(model: PreTrainedModel) -> str:
    if model.device.type == "cuda":
        return f"{model.device} ({torch.cuda.get_device_name(model.device)})"
    return str(model.device)


def _reset_peak_memory() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()


def _peak_memory() -> dict[str, int]:
    """Peak bytes: of the process so far, and of the accelerator since the evidence was begun."""
    # Linux counts in KiB, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    peak = {"process": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit}
    return peak | ({"cuda": torch.cuda.max_memory_allocated()} if torch.cuda.is_available() else {})
