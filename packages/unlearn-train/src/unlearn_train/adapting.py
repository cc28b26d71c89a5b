"""What of a model is trained: chosen parts of it, or LoRA adapters on their linear layers."""

import json
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn import Linear, Module
from transformers import PreTrainedModel
from transformers.pytorch_utils import Conv1D
from unlearn_core.material import language_parameters

from unlearn_train.encoding import Processor
from unlearn_train.settings import LoraOptions, TrainOptions

RECORD, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
NAME = "default"
"""of the one adapter that a model has"""


@contextmanager
def adapted(model: PreTrainedModel, options: TrainOptions) -> Iterator[None]:
    """Have the chosen parts of `model` trained, or adapters on them, and nothing else, while the context lasts.

    At its end adapters are merged into the weights, unless the options say that they are to be kept. After an error
    they stay where they are: there may be no whole weights to merge them into.

    Args:
        model: changed in place.
        options: of which `parts`, `lora` and `seed` count.

    Raises:
        ValueError: the model lacks a part, or a layer to adapt; it is adapted already; or an adapter is to be kept
            alone of a model that is in no folder.
    """
    before = {parameter: parameter.requires_grad for parameter in model.parameters()}
    try:
        if options.lora is not None:
            _adapt(model, options.lora, options.parts or ("language",), seed=options.seed)
        elif options.parts:
            chosen = _names(model, options.parts)
            for name, parameter in model.named_parameters():
                parameter.requires_grad_(name in chosen and parameter.requires_grad)
        yield
        if options.lora is not None and options.lora.merge:
            merge_adapters(model)
    finally:
        for parameter, was_trained in before.items():
            parameter.requires_grad_(was_trained)


def model_parts(model: Module) -> dict[str, frozenset[str]]:
    """Return the names of the parameters of each part: `language`, `projector` and `vision`; a text model has one.

    The projector is all between the vision tower and the language model, a merger of patches at the tower's end
    included.
    """
    language = language_parameters(model)
    find: Any = getattr(model, "get_encoder", None)
    tower: Module = model if find is None else find(modality="image")
    seeing: set[Tensor] = set() if tower is model else set(tower.parameters())
    for name, module in tower.named_modules():
        if "merger" in name.rpartition(".")[-1]:
            seeing -= set(module.parameters())
    rest = {name: weight for name, weight in model.named_parameters() if name not in language}
    parts = {
        "language": language,
        "projector": frozenset(name for name, weight in rest.items() if weight not in seeing),
        "vision": frozenset(name for name, weight in rest.items() if weight in seeing),
    }
    return {part: names for part, names in parts.items() if names}


@contextmanager
def adapters_off(model: Module) -> Iterator[None]:
    """Have `model` answer as it did before adapters were put on, while the context lasts."""
    layers = [layer for _, layer in _adapted_layers(model) if not layer.disable_adapters]
    # Not by their `enable_adapters`, which would also say that their weights are no longer trained.
    for layer in layers:
        layer._disable_adapters = True
    try:
        yield
    finally:
        for layer in layers:
            layer._disable_adapters = False


def merge_adapters(model: PreTrainedModel) -> None:
    """Add what adapters change to the weights and take them off: the model is a plain one again, one without stays."""
    for name, layer in _adapted_layers(model):
        layer.merge()
        model.set_submodule(name, layer.get_base_layer())
    if model._hf_peft_config_loaded:
        del model.peft_config
        model._hf_peft_config_loaded = False


def save_adapter(model: PreTrainedModel, folder: Path) -> None:
    """Save the adapter of `model` alone, as peft reads it."""
    folder.mkdir(parents=True, exist_ok=True)
    # Not by `model.save_pretrained`, which asks the base's folder if embeddings were changed: they are not adapted.
    found = get_peft_model_state_dict(model, adapter_name=NAME, save_embedding_layers=False)
    weights = {f"base_model.model.{name}": weight.contiguous() for name, weight in found.items()}
    save_file(weights, folder / WEIGHTS, metadata={"format": "pt"})
    _config(model).save_pretrained(str(folder))


def load_adapted(folder: Path, **how: Any) -> tuple[PreTrainedModel, Processor]:
    """Load a model and merge the adapter in `folder` into it.

    Args:
        folder: holds an adapter as peft writes it, and where it has any, the processor's files. Its base is where the
            adapter says, or in a folder of that name beside this one.
        **how: of `load_model`.

    Raises:
        ValueError: the base is not there, or the adapter is not whole, not in safetensors, or of no kind that can be
            merged.
    """
    from unlearn_train.models import load_model

    base = _base_of(folder)
    model, processor = load_model(base, **how)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # it asks for an attribute that has a new name
            wrapped = PeftModel(model, PeftConfig.from_pretrained(folder))  # type: ignore[arg-type]  # its config is one
        weights = load_file(folder / WEIGHTS)
        before = {name for name, _ in wrapped.named_parameters() if "lora_" in name or "modules_to_save" in name}
        loaded: Any = set_peft_model_state_dict(wrapped, weights)
        lacking = before.intersection(loaded.missing_keys)
        merged = wrapped.merge_and_unload()
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RuntimeError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise ValueError(f"the adapter in {folder} cannot be put on {base} ({reason}); save it again.") from error
    if lacking:
        raise ValueError(f"the adapter in {folder} lacks weights, {min(lacking)} among them; save it again.")
    merged.requires_grad_(True)
    merged.name_or_path = str(folder)
    if how.get("chat_template") is None and any(folder.glob("tokenizer*")):
        processor = type(processor).from_pretrained(folder)  # as it was when the adapter was saved
    return merged, processor


def _adapt(model: PreTrainedModel, lora: LoraOptions, parts: Sequence[str], *, seed: int) -> None:
    if any(True for _ in _adapted_layers(model)):
        raise ValueError("the model has an adapter already; merge it into the weights, or train without `lora`.")
    if not lora.merge and not model.name_or_path:
        raise ValueError(
            "an adapter by itself needs its model in a folder, and this one has none; save and load the model before, "
            "or set `lora.merge` to true."
        )
    names = _linear_layers(model, lora.targets, parts)
    config = LoraConfig(
        r=lora.rank,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=names,
        fan_in_fan_out=isinstance(model.get_submodule(names[0]), Conv1D),
        task_type="CAUSAL_LM",
    )
    torch.manual_seed(seed)
    model.add_adapter(config, NAME)
    base = str(model.name_or_path)
    _config(model).base_model_name_or_path = str(Path(base).resolve()) if Path(base).is_dir() else base


def _linear_layers(model: PreTrainedModel, targets: Sequence[str], parts: Sequence[str]) -> list[str]:
    """The names of the layers to adapt."""
    head = model.get_output_embeddings()  # type: ignore[no-untyped-call]
    linear = [name for name, module in model.named_modules() if type(module) in (Linear, Conv1D) and module is not head]
    kind = type(model).__name__
    found: list[str] = []
    for part in parts:
        inside = _names(model, [part])
        layers = [name for name in linear if f"{name}.weight" in inside]
        if not layers:
            raise ValueError(
                f"the {part} part of {kind} has no linear layer that an adapter could go on; leave it out of `parts`, "
                "or train it without `lora`."
            )
        found += layers
    for target in targets:
        if not any(_is_named(name, target) for name in found):
            known = sorted({name.rpartition(".")[-1] for name in found if not name[-1].isdigit()})
            raise ValueError(
                f"`lora.targets` names {target!r}, which no linear layer in the {' or '.join(parts)} part of {kind} "
                f"is called; there are {', '.join(known)}."
            )
    return [name for name in found if not targets or any(_is_named(name, target) for target in targets)]


def _is_named(name: str, target: str) -> bool:
    return name == target or name.endswith(f".{target}")


def _names(model: Module, parts: Sequence[str]) -> frozenset[str]:
    """The parameters of these parts."""
    known = model_parts(model)
    for part in parts:
        if part not in known:
            raise ValueError(
                f"`parts` names {part!r}, which {type(model).__name__} does not have; it has {', '.join(known)}."
            )
    return frozenset().union(*(known[part] for part in parts))


def _adapted_layers(model: Module) -> list[tuple[str, BaseTunerLayer]]:
    return [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]


def _config(model: PreTrainedModel) -> PeftConfig:
    configs: Any = model.peft_config
    config: PeftConfig = configs[NAME]
    return config


def _base_of(folder: Path) -> str:
    path = folder / RECORD
    try:
        base = json.loads(path.read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not name the adapter's base model ({error}); save the adapter again.") from error
    if not isinstance(base, str) or not base:
        raise ValueError(f"{path} names no base model; write it there as `base_model_name_or_path`.")
    beside = folder.resolve().parent / Path(base).name
    return str(beside) if not Path(base).exists() and beside.is_dir() else base
