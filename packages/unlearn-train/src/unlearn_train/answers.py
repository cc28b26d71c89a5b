"""The model's logits where answers are, and nowhere else."""

from collections.abc import Mapping
from inspect import signature

from torch import Tensor
from torch.nn import Module
from unlearn_core import Batch

from unlearn_train.encoding import IGNORED


def answers_alone(inputs: Mapping[str, Tensor]) -> Batch:
    """Make a batch whose labels begin just before the first answer token: nothing before it is ever predicted."""
    labels = inputs["labels"]
    first = int((labels != IGNORED).any(0).nonzero()[0])
    seen = {key: value for key, value in inputs.items() if key != "labels"}
    return Batch(inputs=seen, labels=labels[:, max(first - 1, 0) :])


def forward(model: Module, batch: Batch) -> Tensor:
    """Return the logits at the positions of the batch's labels: [rows, labels' length, vocabulary]."""
    kept = batch.labels.shape[1]
    if _keeps_logits(getattr(model, "module", model)):
        logits: Tensor = model(**batch.inputs, logits_to_keep=kept).logits
    else:
        logits = model(**batch.inputs).logits[:, -kept:]
    return logits


def _keeps_logits(model: Module) -> bool:
    """Whether a model can leave out logits that nobody reads; most can."""
    return "logits_to_keep" in signature(model.forward).parameters
