"""Runs trainings that are killed, each in a process of its own: python killed.py CASES.json.

Where it is one of several processes, it runs one case with the others; the first is killed, if the case says when.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import transformers
from unlearn_core import build_method
from unlearn_train.applying import unlearn
from unlearn_train.data import RowSets
from unlearn_train.launching import leave, processes, rank
from unlearn_train.models import load_model, save_model
from unlearn_train.options import build
from unlearn_train.safety import FiniteSteps
from unlearn_train.settings import TrainOptions
from unlearn_train.training import finetune


def train(case: dict[str, Any], out: Path, resume: Path | None = None) -> Any:
    """Train as a case says and save the model."""
    torch.set_num_threads(1)  # threads add up in another order
    model, processor = load_model(case["model"])
    data = RowSets.read(Path(case["data"]))
    tasks = case["tasks"]
    forget, retain = data.select("forget10", tasks), data.select("retain90", tasks)
    options = build(TrainOptions, case["train"])
    how: dict[str, Any] = {"resume": resume, "quiet": case.get("quiet", True)}
    if case["method"] is None:
        log = finetune(model, processor, [*forget, *retain], options, **how)
    else:
        transforms = [build_method(name) for name in case.get("transforms", [])]
        method = build_method(case["method"], **case.get("options", {}))
        log = unlearn(model, processor, method, forget, retain, options, transforms=transforms, **how).log
    if rank() == 0:
        save_model(model, processor, out)
    return log


def die_at_step(step: int) -> None:
    """Be killed in the midst of a step, its gradients computed and not applied."""
    look = FiniteSteps.on_pre_optimizer_step

    def looked(self: Any, args: Any, state: Any, control: Any, **parts: Any) -> None:
        look(self, args, state, control, **parts)
        if state.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    FiniteSteps.on_pre_optimizer_step = looked  # type: ignore[method-assign]


def die_while_writing(step: int) -> None:
    """Be killed with half of a checkpoint written, the first one after some steps."""
    write = transformers.Trainer._save_rng_state

    def wrote(self: Any, folder: str) -> None:
        if self.state.global_step >= step:
            os.kill(os.getpid(), signal.SIGKILL)
        write(self, folder)

    transformers.Trainer._save_rng_state = wrote  # type: ignore[method-assign]


def main() -> None:
    cases = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    if processes() > 1:
        (case,) = cases
        if "step" in case and rank() == 0:
            die_at_step(case["step"])
        train(case, Path(case["out"]), Path(case["resume"]))
        leave()
        return
    for case in cases:
        child = os.fork()
        if child == 0:
            (die_while_writing if case.get("writing") else die_at_step)(case["step"])
            train(case, Path(case["out"]), Path(case["resume"]))
            os._exit(0)  # it was to be killed
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            sys.exit(f"{case['name']} was not killed: it ended with {os.waitstatus_to_exitcode(status)}")


if __name__ == "__main__":
    main()
