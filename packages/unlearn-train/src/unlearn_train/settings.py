"""What can be set, apart from the methods; nothing here imports anything heavy."""

import math
from dataclasses import dataclass, field, fields

SCHEDULES = ("constant", "cosine", "linear")
PRECISIONS = ("fp32", "bf16")
DTYPES = ("float32", "bfloat16", "float16")
PARTS = ("language", "projector", "vision")
REFERENCES = ("kept", "model")
ZERO = ("zero1", "zero2", "zero3", "zero2-offload", "zero3-offload")


@dataclass(frozen=True, kw_only=True)
class LoraOptions:
    """Low-rank adapters on linear layers, trained in the place of the layers' own weights.

    Raises:
        ValueError: an option is out of its range.
    """

    rank: int = 16
    alpha: int = 32
    """what an adapter adds is multiplied by alpha / rank"""
    dropout: float = 0.0
    targets: tuple[str, ...] = ()
    """names of the layers, or how these end, such as q_proj,v_proj; empty: every linear layer of the trained parts"""
    merge: bool = True
    """add the adapter to the weights in the end; false: the saved folder holds the adapter alone, beside its base"""

    def __post_init__(self) -> None:
        for name in ("rank", "alpha"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"`dropout` must be in [0, 1), got {self.dropout}.")
        if "" in self.targets:
            raise ValueError("`targets` holds an empty name; name layers, or leave it out for all linear ones.")


@dataclass(frozen=True, kw_only=True)
class WatchOptions:
    """When unlearning ends before its last step, and which state is kept.

    Raises:
        ValueError: an option is out of its range.
    """

    every: float = 0.1
    """share of the steps between two looks at the model"""
    rows: int = 64
    """at most so many of each set"""
    level: float | None = None
    """probability of the answers to forget at which unlearning ends; left out, that of rows that the model never met"""
    floor: float = 0.8
    """share of its first probability that the retain set must keep; below it unlearning ends"""

    def __post_init__(self) -> None:
        if not 0 < self.every < 1:
            raise ValueError(f"`every` must be a share of the steps in (0, 1), got {self.every}.")
        if not self.rows > 0:
            raise ValueError(f"`rows` must be positive, got {self.rows}.")
        for name in ("level", "floor"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= 1:
                raise ValueError(f"`{name}` must be in [0, 1], got {value}.")


@dataclass(frozen=True, kw_only=True)
class TrainOptions:
    """How a model is trained, whatever the loss.

    Raises:
        ValueError: an option is out of its range.
    """

    epochs: float = 1.0
    """passes over the rows that are learnt, or over those that are forgotten"""
    batch_size: int = 16
    """rows of a batch, over all processes; when unlearning, of the forget and of the retain set each"""
    accumulation: int = 1
    """batches summed into one step"""
    learning_rate: float = 1e-5
    schedule: str = "cosine"
    """of the learning rate: constant, cosine or linear"""
    warmup: float = 0.05
    """share of the steps in which the learning rate rises from 0"""
    weight_decay: float = 0.0
    max_grad_norm: float = 1.0
    parts: tuple[str, ...] = ()
    """what is trained: language, projector, vision, or several; empty: all of the model, or with LoRA the language"""
    lora: LoraOptions | None = None
    """adapters, instead of all weights of the parts; {} for the defaults"""
    lora_l1: float = 0.0
    """when unlearning, weight of the L1 norm of what LoRA adds to the weights"""
    reference: str = "kept"
    """when unlearning, what methods compare with: what the model said at first of the rows, kept; or a second model"""
    precision: str = "fp32"
    """fp32, or bf16 autocast"""
    by_length: bool = True
    """when finetuning, learn rows of like length together: little is padding, but a batch is less mixed"""
    deepspeed: str | None = None
    """zero1, zero2, zero3, zero2-offload, zero3-offload, or a JSON file with DeepSpeed's configuration"""
    save_every: float = 0.1
    """share of the steps between two checkpoints, or from 1 on, steps; 0: none are written"""
    watch: WatchOptions | None = None
    """when unlearning, look at the model on the way, end by what is seen, keep the best state; {} for the defaults"""
    report_to: tuple[str, ...] = ()
    """where the log goes as well: tensorboard (to TENSORBOARD_LOGGING_DIR, or ./logs), wandb, trackio"""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "accumulation", "learning_rate", "max_grad_norm"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must be positive, got {getattr(self, name)}.")
        if not 0 <= self.warmup < 1:
            raise ValueError(f"`warmup` must be in [0, 1), got {self.warmup}.")
        for name in ("weight_decay", "lora_l1", "save_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"`{name}` must not be negative, got {getattr(self, name)}.")
        if self.lora_l1 and self.lora is None:
            raise ValueError("`lora_l1` weighs what LoRA adds to the weights; set `lora` as well, or leave it out.")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"`seed` must be in [0, 2^32), got {self.seed}.")
        if self.save_every > 1 and self.save_every % 1:
            raise ValueError(f"`save_every` must be a share of the steps or a whole number, got {self.save_every}.")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"`schedule` must be one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")
        for part in self.parts:
            if part not in PARTS or self.parts.count(part) > 1:
                raise ValueError(f"`parts` must be some of {', '.join(PARTS)}, each once, got {', '.join(self.parts)}.")
        if self.reference not in REFERENCES:
            raise ValueError(f"`reference` must be one of {', '.join(REFERENCES)}, got {self.reference!r}.")
        if self.precision not in PRECISIONS:
            raise ValueError(f"`precision` must be one of {', '.join(PRECISIONS)}, got {self.precision!r}.")
        if self.deepspeed is not None and self.deepspeed not in ZERO and not self.deepspeed.endswith(".json"):
            raise ValueError(f"`deepspeed` must be one of {', '.join(ZERO)}, or a JSON file, got {self.deepspeed!r}.")


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
    figure_questions: int = 2
    """about each public figure's profile"""
    scenes: int = 120
    """drawn scenes, known from pretraining"""
    size: int = 64
    """pixels on a side of an image"""
    pool: str | None = None
    """folder of portraits, instead of those that ship with clear-data; of a pipeline, what its pictures start from"""
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
    attention: str | None = None
    """how attention is computed, such as eager, sdpa or flash_attention_2; left out, as transformers chooses"""
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
