"""Model to evidence: scores and generated answers of any Hugging Face language or vision-language model.

Needs the extra `score` (torch, transformers, pillow), which is imported when a name is first asked for.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unlearn_metrics.scoring._collect import collect_evidence
    from unlearn_metrics.scoring._decoding import Sampling
    from unlearn_metrics.scoring._encoding import Encoder, Prompt, encode
    from unlearn_metrics.scoring._generate import generate
    from unlearn_metrics.scoring._loading import load_model, load_sets
    from unlearn_metrics.scoring._score import score
    from unlearn_metrics.scoring._vllm import VLLM

__all__ = [
    "VLLM",
    "Encoder",
    "Prompt",
    "Sampling",
    "collect_evidence",
    "encode",
    "generate",
    "load_model",
    "load_sets",
    "score",
]

_MODULES = {
    "_collect": ("collect_evidence",),
    "_decoding": ("Sampling",),
    "_encoding": ("Encoder", "Prompt", "encode"),
    "_generate": ("generate",),
    "_loading": ("load_model", "load_sets"),
    "_score": ("score",),
    "_vllm": ("VLLM",),
}


def __getattr__(name: str) -> Any:
    for module, names in _MODULES.items():
        if name in names:
            return getattr(import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
