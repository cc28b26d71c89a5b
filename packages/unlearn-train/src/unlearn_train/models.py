"""Loading and saving of any Hugging Face language or vision-language model."""

import os
from collections.abc import Collection
from pathlib import Path
from typing import Any

import torch
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

from unlearn_train import launching
from unlearn_train.encoding import Processor
from unlearn_train.settings import DTYPES
from unlearn_train.templates import read_template
from unlearn_train.zero import deepspeed_if


def load_model(
    name: str | Path,
    *,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    attention: str | None = None,
    chat_template: Path | None = None,
) -> tuple[PreTrainedModel, Processor]:
    """Load a model and its processor (vision-language models) or tokenizer (language models) onto the default device.

    It also has the process flush denormal numbers, see `flush_denormals`.

    Args:
        name: a folder, or a name on the Hugging Face hub. A folder that a guard was saved in gives the model with it,
            one that holds an adapter the model that it is for, with the adapter merged into it.
        dtype: of the weights: `float32`, `bfloat16` or `float16`.
        trust_remote_code: run code that comes with the model; off, since that code can do anything.
        attention: how it is computed, such as `sdpa` or `flash_attention_2`; left out, as transformers chooses.
        chat_template: a file with a Jinja template, instead of the model's own.

    Raises:
        ValueError: there is no such model or file, or the model is of no kind that can be loaded.
    """
    flush_denormals()
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    how: dict[str, Any] = {"dtype": dtype, "trust_remote_code": trust_remote_code, "chat_template": chat_template}
    how["attention"] = attention
    if (Path(name) / "guard.json").is_file():
        from unlearn_train.guarding import load_guarded

        return load_guarded(Path(name), **how)
    if (Path(name) / "adapter_config.json").is_file() and not (Path(name) / "config.json").is_file():
        from unlearn_train.adapting import load_adapted

        return load_adapted(Path(name), **how)
    template = None if chat_template is None else read_template(chat_template)
    try:
        model, processor, missing = _read(name, dtype, trust_remote_code, attention)
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        if not Path(name).exists() and not _may_be_on_the_hub(str(name)):
            reason = "there is no such folder"
        raise ValueError(
            f"{name} cannot be loaded as a model ({reason}); give a folder with config.json, safetensors and a "
            "tokenizer, or a name on the hub."
        ) from error
    if missing:
        raise ValueError(
            f"{name} lacks weights, {min(missing)} among them, and would answer at random; give a folder that holds "
            "the whole model."
        )
    if template is not None:
        processor.chat_template = template
    return model.to(default_device()), processor  # type: ignore[arg-type]  # a wrapper hides the types of `to`


def flush_denormals() -> None:
    """Have this process take numbers below 1e-38 for 0.

    A model that is sure of its answers has gradients full of them, and a CPU is several times slower with such numbers
    than with others. Threads take the setting over when they start: call this before anything heavy is computed.
    """
    torch.set_flush_denormal(True)


def default_device() -> str:
    """Return where models run: this process's GPU, or the CPU where there is none."""
    return f"cuda:{os.environ.get('LOCAL_RANK', 0)}" if torch.cuda.is_available() else "cpu"


def place(model: PreTrainedModel) -> None:
    """Move a model onto this process's device, unless it is spread over several; the processes have met by then."""
    launching.join()
    if getattr(model, "hf_device_map", None) is None:
        model.to(default_device())  # type: ignore[arg-type]  # a wrapper hides the types of `to`


def _may_be_on_the_hub(name: str) -> bool:
    return not name.startswith((".", "/", "~")) and len(Path(name).parts) <= 2


def _read(
    name: str | Path, dtype: str, trust_remote_code: bool, attention: str | None
) -> tuple[PreTrainedModel, Processor, Collection[str]]:
    """A model, its processor, and the weights that the files lack."""
    config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
    sees = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
    auto: Any = AutoModelForImageTextToText if sees else AutoModelForCausalLM
    model, loaded = auto.from_pretrained(
        name,
        dtype=getattr(torch, dtype),
        attn_implementation=attention,
        trust_remote_code=trust_remote_code,
        use_safetensors=True,  # a pickle from outside can run code when it is read
        output_loading_info=True,
    )
    processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(name, trust_remote_code=trust_remote_code)
    return model, processor, loaded["missing_keys"]


def save_model(model: PreTrainedModel, processor: Processor, folder: Path) -> None:
    """Save a plain Hugging Face folder: config, safetensors, processor, chat template; adapters by themselves."""
    if launching.rank() > 0:
        return
    with deepspeed_if(False):
        if model._hf_peft_config_loaded:
            from unlearn_train.adapting import save_adapter

            save_adapter(model, folder)
        else:
            model.save_pretrained(folder)
    processor.save_pretrained(folder)


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens `model` reads, or None where its config does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)
