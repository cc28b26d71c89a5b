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
    "model": {"tiny": {"hidden": 256, "layers": 2, "vocabulary": 4096}},
    "pretrain": {"epochs": 2, "batch_size": 16, "learning_rate": 5e-4},
    "finetune": {"epochs": 22, "batch_size": 16, "learning_rate": 3e-3},
    "unlearn": {"epochs": 5, "batch_size": 16, "learning_rate": 2e-4},
    "methods": {"graddiff": {}, "npo": {}, "simnpo": {"train": {"learning_rate": 6e-4}}},
}
"""for the small model that is built on the spot"""
