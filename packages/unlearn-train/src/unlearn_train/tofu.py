"""TOFU: fictitious authors, text alone. The defaults of `unlearn run tofu`."""

from typing import Any

METHODS = ("graddiff", "npo", "simnpo")

CHECKPOINT: dict[str, Any] = {
    "benchmark": "tofu",
    "tasks": ["qa"],
    "finetune": {"epochs": 5, "batch_size": 16, "learning_rate": 1e-5},
    "unlearn": {"epochs": 5, "batch_size": 16, "learning_rate": 1e-5},
    "methods": {name: {} for name in METHODS},
}
"""for a real checkpoint"""

EMBEDDED: dict[str, Any] = {
    "benchmark": "tofu",
    "tasks": ["qa"],
    "rehearse": True,
    "model": {"attention": "eager", "tiny": {"hidden": 256, "layers": 2, "vocabulary": 4096}},
    "pretrain": None,
    "finetune": {"epochs": 22, "batch_size": 16, "learning_rate": 3e-3},
    "unlearn": {"epochs": 10, "batch_size": 16, "learning_rate": 5e-4},
    "methods": {
        "graddiff": {"train": {"epochs": 5, "learning_rate": 2e-4}},
        "npo": {},
        "simnpo": {"train": {"learning_rate": 2e-3}},
    },
}
"""for the small model that is built on the spot; first sure of the 217 rows of the real sets, it would learn the 4,000
much more slowly, so it learns all at once"""
