"""What can be set, apart from the methods; nothing here imports anything heavy."""

import math
from dataclasses import dataclass, field, fields

SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("fp32", "bf16")
DTYPES = ("float32", "bfloat16", "float16")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a model is trained, whatever the loss.

    Raises:
        ValueError: an option is out of its range.
    """

    epochs: float = 1.0
    """passes over the rows that are learnt, or over those that are forgotten"""
    batch_size: int = 16
    """rows a step on each device; when unlearning, of the forget and of the retain set each"""
    accumulation: int = 1
    """batches summed into one step"""
    learning_rate: float = 1e-5
    schedule: str = "cosine"
    """of the learning rate: constant, cosine or linear"""
    warmup: float = 0.05
    """share of the steps in which the learning rate rises from 0"""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    lora_l1: float = 0.0
    """when unlearning, weight of the L1 norm of what LoRA adds to the weights"""
    precision: str = "fp32"
    """fp32, or bf16 autocast"""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"`warmup` must be in [0, 1), got {self.warmup}.")
        for name in ("weight_decay", "lora_l1"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be in [0, 2^32), got {self.seed}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")


@dataclass(frozen=True, kw_only=True)
class TinySize:
    """Size of an embedded model.

    Raises:
        ValueError: widths, heads, image and patch do not fit one another.
    """

    hidden: int = 128
    """width of the language model"""
    layers: int = 4
    """layers of the language model"""
    heads: int = 4
    vision_hidden: int = 96
    vision_layers: int = 3
    image_size: int = 64
    """pixels on a side"""
    patch: int = 8
    """pixels on a side of a patch; a patch is an image token"""
    vocabulary: int = 2048
    """the tokenizer's greatest size"""
    context: int = 512
    """tokens"""

    def __post_init__(self) -> None:
        for option in fields(self):
            if not getattr(self, option.name) > 0:
                raise ValueError(f"`{option.name}` must be positive, got {getattr(self, option.name)}.")
        if self.hidden % self.heads or self.vision_hidden % self.heads:
            raise ValueError(
                f"`hidden` and `vision_hidden` must be multiples of `heads`, got {self.hidden}, {self.vision_hidden} "
                f"and {self.heads}."
            )
        if self.image_size % self.patch:
            raise ValueError(f"`image_size` must be a multiple of `patch`, got {self.image_size} and {self.patch}.")


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where the rows come from."""

    folder: str | None = None
    """a dataset folder (rows.parquet, sets.json) or a benchmark's files; rows are built where it is left out"""
    subjects: int = 40
    questions: int = 10
    """about each subject's profile"""
    images: int = 8
    """photographs of each subject"""
    holdout: int = 4
    """subjects that no model learns"""
    figures: int = 12
    """public figures, known from pretraining"""
    scenes: int = 120
    """drawn scenes, known from pretraining"""
    size: int = 64
    """pixels on a side of an image"""
    pool: str | None = None
    """folder of portraits, instead of those that ship with clear-data"""
    pipeline: str | None = None
    """diffusers pipeline, folder or hub name, instead of the one that ships with clear-data"""
    faces: str | None = None
    """folder of photographs, instead of drawing any"""

    def __post_init__(self) -> None:
        given = [name for name in ("faces", "pool", "pipeline") if getattr(self, name) is not None]
        if "faces" in given and len(given) > 1:
            raise ValueError(
                f"`faces` are photographs that are there, so `{given[1]}` has nothing to do; give one of them."
            )


@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Which model is taught."""

    name: str | None = None
    """folder or hub name of a checkpoint; a small model is built and pretrained where it is left out"""
    dtype: str = "float32"
    trust_remote_code: bool = False
    chat_template: str | None = None
    """file with a Jinja chat template, instead of the checkpoint's own"""
    tiny: TinySize = field(default_factory=TinySize)
    """size of the model that is built"""

    def __post_init__(self) -> None:
        if self.dtype not in DTYPES:
            raise ValueError(f"`dtype` must be one of {', '.join(DTYPES)}, got {self.dtype!r}.")
        if self.chat_template is not None and self.name is None:
            raise ValueError("`chat_template` is for a checkpoint; name one (`--model`), or leave it out.")


@dataclass(frozen=True, kw_only=True)
class EvaluateOptions:
    """What is asked of each model."""

    rows: int = 400
    """at most so many rows of a set, of whole subjects; forget sets are asked in full"""
    max_new_tokens: int = 48
    """tokens of a generated answer"""
    batch_tokens: int = 8192
    """tokens in a batch, padding included"""

    def __post_init__(self) -> None:
        for option in fields(self):
            if not getattr(self, option.name) > 0:
                raise ValueError(f"`{option.name}` must be positive, got {getattr(self, option.name)}.")
