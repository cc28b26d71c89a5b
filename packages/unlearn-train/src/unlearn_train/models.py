"""Loading and saving of any Hugging Face language or vision-language model."""

from pathlib import Path

import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoModelForImageTextToText,
    AutoProcessor,
    AutoTokenizer,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES

from unlearn_train.encoding import Processor
from unlearn_train.templates import read_template

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def load_model(
    name: str | Path,
    *,
    dtype: str = "float32",
    trust_remote_code: bool = False,
    chat_template: Path | None = None,
) -> tuple[PreTrainedModel, Processor]:
    """Load a model and its processor (vision-language models) or tokenizer (language models).

    Args:
        name: a folder, or a name on the Hugging Face hub.
        dtype: of the weights: `float32`, `bfloat16` or `float16`.
        trust_remote_code: run code that comes with the model; off, since that code can do anything.
        chat_template: a file with a Jinja template, instead of the model's own.

    Raises:
        ValueError: there is no such model or file, or the model is of no kind that can be loaded.
    """
    if dtype not in DTYPES:
        raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {dtype!r}.")
    template = None if chat_template is None else read_template(chat_template)
    try:
        config = AutoConfig.from_pretrained(name, trust_remote_code=trust_remote_code)
        sees = config.model_type in MODEL_FOR_IMAGE_TEXT_TO_TEXT_MAPPING_NAMES
        auto = AutoModelForImageTextToText if sees else AutoModelForCausalLM
        # Weights in safetensors alone: a pickle from outside can run code when it is read.
        model = auto.from_pretrained(
            name, dtype=DTYPES[dtype], trust_remote_code=trust_remote_code, use_safetensors=True
        )
        processor = (AutoProcessor if sees else AutoTokenizer).from_pretrained(
            name, trust_remote_code=trust_remote_code
        )
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ValueError(
            f"{name} cannot be loaded as a model ({reason}); give a folder with config.json, safetensors and a "
            "tokenizer, or a name on the hub."
        ) from error
    if template is not None:
        processor.chat_template = template
    return model, processor


def save_model(model: PreTrainedModel, processor: Processor, folder: Path) -> None:
    """Save a plain Hugging Face folder: config, safetensors, processor, chat template."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)


def context_length(model: PreTrainedModel) -> int | None:
    """Return how many tokens `model` reads, or None where its config does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)
