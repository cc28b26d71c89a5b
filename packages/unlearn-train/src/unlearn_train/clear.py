"""CLEAR: people that are forgotten in text and images at once. The defaults of `unlearn run clear`."""

from typing import Any

METHODS = ("ga", "graddiff", "npo", "simnpo", "idk")

CHECKPOINT: dict[str, Any] = {
    "benchmark": "clear",
    "finetune": {"epochs": 5, "batch_size": 8, "learning_rate": 1e-5},
    "unlearn": {"epochs": 5, "batch_size": 8, "learning_rate": 5e-6},
    "methods": {name: {} for name in METHODS},
}
"""for a real checkpoint"""

EMBEDDED: dict[str, Any] = {
    "benchmark": "clear",
    "rehearse": True,
    "model": {"tiny": {"patch": 16}},
    "pretrain": {"epochs": 20, "batch_size": 32, "learning_rate": 2e-3},
    "finetune": {"epochs": 25, "batch_size": 32, "learning_rate": 2e-3},
    "unlearn": {"epochs": 5, "batch_size": 16, "learning_rate": 2e-4},
    "methods": {name: {} for name in METHODS},
}
"""for the small model that is built on the spot"""
