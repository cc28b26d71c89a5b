"""DeepSpeed's ZeRO: optimizer, gradients and weights are shared out among the processes."""

import copy
import json
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import Module, Parameter

from unlearn_train import launching
from unlearn_train.extras import need
from unlearn_train.settings import ZERO, TrainOptions

if TYPE_CHECKING:
    from transformers import Trainer

ASKED = "ACCELERATE_USE_DEEPSPEED"
"""is where accelerate looks, and where its launcher says that DeepSpeed is to be used"""

_OFFLOAD = {"device": "cpu", "pin_memory": True}
_STAGES: dict[str, dict[str, Any]] = {
    "zero1": {"stage": 1, "reduce_bucket_size": 50_000_000},
    "zero2": {"stage": 2, "reduce_bucket_size": 50_000_000, "overlap_comm": True},
    "zero3": {
        "stage": 3,
        "overlap_comm": True,
        "reduce_bucket_size": "auto",
        "stage3_prefetch_bucket_size": "auto",
        "stage3_param_persistence_threshold": "auto",
    },
}
PRESETS: dict[str, dict[str, Any]] = {
    **_STAGES,
    "zero2-offload": {**_STAGES["zero2"], "offload_optimizer": _OFFLOAD},
    "zero3-offload": {**_STAGES["zero3"], "offload_optimizer": _OFFLOAD, "offload_param": _OFFLOAD},
}
"""`zero_optimization` of DeepSpeed's configuration"""


def read_zero(name: str) -> dict[str, Any]:
    """Return DeepSpeed's configuration.

    Args:
        name: a preset, or a JSON file. What a file leaves out of batch sizes, clipping and precision is that of the
            training's options.

    Raises:
        ValueError: there is no such preset or file, or the file holds no configuration.
    """
    common = {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "bf16": {"enabled": "auto", "check_grad_overflow": True},
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,  # torch's own runs on the CPU too, and needs no compiler
        "steps_per_print": sys.maxsize,
    }
    given = {"zero_optimization": copy.deepcopy(PRESETS[name])} if name in PRESETS else _read(Path(name))
    return {**common, **given}


def asks_for_deepspeed(name: str | None) -> bool:
    """Return whether the options or the launcher, such as `accelerate launch --use_deepspeed`, ask for DeepSpeed."""
    return name is not None or os.environ.get(ASKED, "false").lower() == "true"


@contextmanager
def deepspeed_if(asked: bool) -> Iterator[None]:
    """Have DeepSpeed ready where it is asked for; else have other libraries not find it, while the context lasts.

    Where it is installed, accelerate imports it whenever a model is trained or saved, which takes seconds and prints.

    Raises:
        ImportError: it is asked for and not installed; the message names the extra.
    """
    if asked:
        _prepare()
    before = os.environ.get(ASKED)
    hides = not asked and "deepspeed" not in sys.modules
    if hides:
        sys.modules["deepspeed"] = None  # type: ignore[assignment]  # Python's way to say that there is none
    try:
        with warnings.catch_warnings():
            # DeepSpeed calls functions of torch by names that are old by now.
            warnings.filterwarnings("ignore", "`torch.distributed.* is deprecated", FutureWarning)
            yield
    finally:
        if hides:
            del sys.modules["deepspeed"]
        # accelerate says so to itself, and would use DeepSpeed from now on.
        if before is None:
            os.environ.pop(ASKED, None)
        else:
            os.environ[ASKED] = before


def _prepare() -> None:
    on_cpu = not torch.accelerator.is_available()
    if on_cpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    need("deepspeed")
    launching.join(alone=True)
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    if on_cpu:
        _prepare_cpu()


def _prepare_cpu() -> None:
    from accelerate.state import AcceleratorState, DistributedType, PartialState
    from deepspeed.ops import __compatible_ops__ as compiled

    compiled["deepspeed_shm_comm"] = False  # it would be compiled now, and gloo serves
    # accelerate counts DeepSpeed's processes on accelerators alone.
    AcceleratorState._reset_state(reset_partial_state=True)
    PartialState(cpu=True).distributed_type = DistributedType.DEEPSPEED


def check_fits(trainer: "Trainer", options: TrainOptions) -> None:
    """Refuse what needs whole weights or gradients on every process.

    Raises:
        ValueError: the options ask for it, and DeepSpeed shares these out.
    """
    if not trainer.is_deepspeed_enabled:
        return
    if options.lora_l1 and trainer.accelerator.state.deepspeed_plugin.zero_stage == 3:
        raise ValueError(
            "`lora_l1` needs whole weights, which ZeRO's third stage shares out; use zero2, or leave it out."
        )
    if getattr(trainer, "transforms", None) is not None:
        raise ValueError("gradient transforms need whole gradients on every process; leave out `deepspeed`.")


def gradient_norm(trainer: "Trainer") -> float | None:
    """Return the norm of the last step's gradients of all processes, as DeepSpeed has found it."""
    engine: Any = trainer.deepspeed
    norm: float | None = engine.get_global_grad_norm()
    return norm


@contextmanager
def plain_afterwards(trainer: "Trainer") -> Iterator[None]:
    """Have the model that DeepSpeed trains while the context lasts be a plain and whole one in every process after it.

    After an error nothing is gathered: the other processes may not be there any more.
    """
    if not trainer.is_deepspeed_enabled:
        yield
        return
    from transformers.integrations import deepspeed as integration

    plain = _PlainModel(trainer.model)  # type: ignore[arg-type]  # a Trainer that trains has one
    try:
        with _trained_weights_alone():
            yield
    finally:
        integration.unset_hf_deepspeed_config()  # type: ignore[no-untyped-call]  # theirs has no types
    plain.restore(trainer.deepspeed)


@contextmanager
def _trained_weights_alone() -> Iterator[None]:
    """Have DeepSpeed's checkpoints hold but the weights that are trained, while the context lasts.

    With LoRA, the others are nearly all, and where a checkpoint is read they are there as they were. It can leave them
    out, but transformers asks it to for models of `peft.PeftModel` alone, and ours has its adapters inside. A weight
    with two names, such as an embedding that is the output embedding too, is written in any case.
    """
    from deepspeed import DeepSpeedEngine

    save, load = DeepSpeedEngine.save_checkpoint, DeepSpeedEngine.load_checkpoint

    def save_trained(self: Any, *args: Any, **options: Any) -> Any:
        return save(self, *args, **{**options, "exclude_frozen_parameters": True})

    def load_trained(self: Any, *args: Any, **options: Any) -> Any:
        return load(self, *args, **{**options, "load_module_strict": False})

    DeepSpeedEngine.save_checkpoint, DeepSpeedEngine.load_checkpoint = save_trained, load_trained
    try:
        yield
    finally:
        DeepSpeedEngine.save_checkpoint, DeepSpeedEngine.load_checkpoint = save, load


class _PlainModel:
    """Remembers what a model was like, and makes it a plain one again after DeepSpeed has trained it.

    DeepSpeed trains a model in place: it casts weights, keeps but a share of each, and leaves hooks behind.

    Args:
        model: before it is trained.
    """

    def __init__(self, model: Module) -> None:
        self.modules = {module: _contents(module) for module in model.modules()}
        self.parameters = {parameter: (parameter.dtype, dict(vars(parameter))) for parameter in model.parameters()}

    def restore(self, engine: Any) -> None:
        """Give every process all weights, as trained, in the type that they had; every process must call this.

        Args:
            engine: DeepSpeed's, of no use afterwards.
        """
        whole = {parameter: _whole(parameter, dtype) for parameter, (dtype, _) in self.parameters.items()}
        engine.destroy()
        for module, contents in self.modules.items():
            vars(module).clear()
            vars(module).update(contents)
        for parameter, (_, attributes) in self.parameters.items():
            vars(parameter).clear()
            vars(parameter).update(attributes)
            parameter.grad = None
            parameter.data = whole[parameter]


def _contents(module: Module) -> dict[str, Any]:
    return {name: copy.copy(value) if isinstance(value, dict) else value for name, value in vars(module).items()}


def _whole(parameter: Parameter, dtype: torch.dtype) -> Any:
    """The weights that the optimizer keeps; those that the model runs with where it keeps none."""
    from deepspeed.runtime.zero import GatheredParameters
    from deepspeed.utils import safe_get_full_fp32_param

    kept = safe_get_full_fp32_param(parameter) if parameter.requires_grad else None
    if kept is not None:
        return kept.to(parameter.device, dtype, copy=True)
    with GatheredParameters([parameter]):
        return parameter.detach().to(dtype, copy=True)


def _read(path: Path) -> dict[str, Any]:
    try:
        given = json.loads(path.read_text(encoding="utf-8"))
    except OSError:
        raise ValueError(f"`deepspeed` must be one of {', '.join(ZERO)}, or a JSON file; {path} is none.") from None
    except ValueError as error:
        raise ValueError(f"{path} is no JSON ({error}); DeepSpeed's configuration is.") from error
    if not isinstance(given, dict) or "zero_optimization" not in given:
        raise ValueError(f"{path} must hold DeepSpeed's configuration, with `zero_optimization`.")
    return given
