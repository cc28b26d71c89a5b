"""Guards around Hugging Face models: put on, saved, and loaded again.

A guarded model is a folder with `guard.json`, `guard.safetensors`, the model in `model/` and, where the guard has one,
an assistant in `assistant/`. It is no plain Hugging Face folder, so that nothing loads the model without its guard
unawares. A guard that is examples alone lives in the chat template, and its folder is a plain one.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from transformers import PreTrainedModel, ProcessorMixin
from unlearn_core import GUARDS, Exchange, Guard, Kept, build_method

from unlearn_train import launching
from unlearn_train.encoding import Processor, render, tokenize
from unlearn_train.models import context_length, load_model, save_model

RECORD = "guard.json"


def attach(model: PreTrainedModel, processor: Processor, guard: Guard, kept: Kept) -> None:
    """Put a guard around a model, and its examples into the processor's chat template.

    Raises:
        ValueError: the examples leave too little room in what the model reads.
    """
    guard.attach(model, kept)
    if not kept.turns:
        return
    template = processor.chat_template
    if not isinstance(template, str):
        raise ValueError(f"examples need one chat template to stand in, got {type(template).__name__}; give one.")
    processor.chat_template = with_turns(template, kept.turns, has_parts=isinstance(processor, ProcessorMixin))
    room, used = context_length(model), _prompt_length(processor)
    if room is not None and used > 0.75 * room:
        processor.chat_template = template
        raise ValueError(
            f"the {len(kept.turns)} examples of {guard} take {used} of the {room} tokens that the model reads; show "
            "fewer."
        )


def with_turns(template: str, turns: Sequence[Exchange], *, has_parts: bool) -> str:
    """Return a chat template that puts exchanges before every conversation.

    Args:
        template: in Jinja.
        turns: the exchanges.
        has_parts: whether a message's content is a list of parts, as for processors of images.

    Example:
        >>> with_turns("{{ messages | length }}", [Exchange("Who?", "I don't know.")], has_parts=False)[:41]
        '{% set messages = [{"role": "user", "cont'
    """
    messages = [
        {"role": role, "content": [{"type": "text", "text": text}] if has_parts else text}
        for turn in turns
        for role, text in (("user", turn.question), ("assistant", turn.answer))
    ]
    return f"{{% set messages = {json.dumps(messages, ensure_ascii=False)} + messages %}}{template}"


def save_guarded(model: PreTrainedModel, processor: Processor, guard: Guard, kept: Kept, folder: Path) -> None:
    """Save a guarded model."""
    if not kept.tensors and kept.assistant is None:
        save_model(model, processor, folder)
        return
    if launching.rank() > 0:
        return
    folder.mkdir(parents=True, exist_ok=True)
    save_model(model, processor, folder / "model")
    if isinstance(kept.assistant, PreTrainedModel):
        save_model(kept.assistant, processor, folder / "assistant")
    save_file({name: tensor.contiguous() for name, tensor in kept.tensors.items()}, folder / "guard.safetensors")
    name = next(name for name, known in GUARDS.items() if isinstance(guard, known))
    record = {"guard": name, "options": asdict(guard)}  # type: ignore[call-overload]  # every guard is a dataclass
    (folder / RECORD).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")


def load_guarded(folder: Path, **how: Any) -> tuple[PreTrainedModel, Processor]:
    """Load a model and put its guard around it.

    Args:
        folder: written by `save_guarded`.
        **how: of `load_model`.

    Raises:
        ValueError: a file is missing or does not say what it must.
    """
    guard = _read_guard(folder / RECORD)
    model, processor = load_model(folder / "model", **how)
    has_assistant = (folder / "assistant").is_dir()
    assistant = load_model(folder / "assistant", **how)[0] if has_assistant else None
    try:
        tensors = load_file(folder / "guard.safetensors")
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{folder / 'guard.safetensors'} cannot be read ({error}); save the model again.") from error
    attach(model, processor, guard, Kept(tensors=tensors, assistant=assistant))
    return model, processor


def _read_guard(path: Path) -> Guard:
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        name, options = record["guard"], dict(record["options"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{path} does not name a guard and its options ({error}); save the model again.") from error
    if name not in GUARDS:
        raise ValueError(f"{path} names the guard {name!r}; known are {', '.join(GUARDS)}.")
    guard: Guard = build_method(name, **options)
    return guard


def _prompt_length(processor: Processor) -> int:
    prompt, _ = render(processor, "?", "x", has_image=False)
    return int(tokenize(processor, prompt, None)["input_ids"].shape[1])
