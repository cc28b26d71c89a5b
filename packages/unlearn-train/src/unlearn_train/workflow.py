"""The stages of an experiment: rows, then models, then evidence."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unlearn_train import options
from unlearn_train.data import Row, RowSets
from unlearn_train.datasource import data_stage
from unlearn_train.experiment import BASE_STATES, REAL_SETS, Experiment
from unlearn_train.sampling import sample_rows
from unlearn_train.settings import ModelOptions, TrainOptions
from unlearn_train.stages import RESUME, VERSIONED, Stage
from unlearn_train.templates import read_template

PARTS_OF_GUARDED = ("model", "assistant")
SCORING = (*VERSIONED, "unlearn-metrics")


def plan(experiment: Experiment, folder: Path, *, quiet: bool = False) -> list[Stage]:
    """Return the stages of `experiment` with their results in `folder`, each after its inputs."""
    work = _Work(experiment, folder, quiet)
    data = data_stage(experiment, quiet=quiet)
    models = {
        "pretrained": Stage(
            "models/pretrained",
            work.pretrain,
            work.depends("pretrained", experiment.pretrain, model=model_key(experiment.model)),
            (data,),
        )
    }
    for state in BASE_STATES[1:]:
        more = {"sets": work.taught(state), "rehearse": experiment.rehearse}
        models[state] = Stage(
            f"models/{state}",
            partial(work.finetune, state),
            work.depends(state, experiment.finetune, **more),
            (data, models["pretrained"]),
        )
    for state in experiment.methods:
        recipe = experiment.recipe(state)
        more = {
            "method": repr(recipe.method),
            **({"transforms": repr(recipe.transforms)} if recipe.transforms else {}),
            "sets": [experiment.forget, experiment.retain],
            "rehearse": experiment.rehearse,
        }
        depends = work.depends(state, experiment.unlearning(state), **more)
        needed = [models["target"], *([models["retrained"]] if work.asks_retrained(state) else [])]
        models[state] = Stage(f"models/{state}", partial(work.forget, state), depends, (data, *needed))
    asked = {
        "forget": experiment.forget,
        "retain": experiment.retain,
        "seed": experiment.seed,
        **options.plain(experiment.evaluate),
    }
    evidence = [
        Stage(f"evidence/{state}", partial(work.evaluate, state), asked, (data, model), SCORING)
        for state, model in models.items()
    ]
    return [data, *models.values(), *evidence]


@dataclass(frozen=True)
class _Work:
    """What the stages do. The heavy imports are inside: a run with nothing to do needs none of them."""

    experiment: Experiment
    folder: Path
    quiet: bool

    def depends(self, state: str, training: TrainOptions | None, **more: Any) -> dict[str, Any]:
        """What a model depends on, its inputs apart."""
        return {
            "seed": self.experiment.seed_for(state),
            "tasks": self.experiment.tasks,
            "training": None if training is None else options.decisive(training),
            **more,
        }

    def taught(self, state: str) -> list[str]:
        """The sets that a finetuned model learns: the retrained one never sees what is to be forgotten."""
        return [self.experiment.retain] if state == "retrained" else [self.experiment.forget, self.experiment.retain]

    def pretrain(self, out: Path) -> None:
        from unlearn_train import training
        from unlearn_train.models import save_model

        chosen, sets = self.experiment, self._rows()
        sets.require_apart(chosen.forget, chosen.retain)
        if chosen.model.name is not None:
            model, processor = load_named(chosen.model)
        else:
            model, processor = self._tiny(sets)
            if chosen.pretrain is not None:
                schedule = self._training("pretrained", chosen.pretrain)
                training.finetune(model, processor, self._known(sets), schedule, resume=out / RESUME, quiet=self.quiet)
        save_model(model, processor, out)

    def finetune(self, state: str, out: Path) -> None:
        from unlearn_train import training
        from unlearn_train.models import save_model

        sets = self._rows()
        sets.require_apart(self.experiment.forget, self.experiment.retain)
        rows = [row for name in self.taught(state) for row in sets.select(name, self.experiment.tasks)]
        rows += self._rehearsed(sets)
        model, processor = self._load("pretrained")
        schedule = self._training(state, self.experiment.finetune)
        training.finetune(model, processor, rows, schedule, resume=out / RESUME, quiet=self.quiet)
        save_model(model, processor, out)

    def forget(self, state: str, out: Path) -> None:
        from unlearn_train.applying import unlearn

        chosen, sets = self.experiment, self._rows()
        sets.require_apart(chosen.forget, chosen.retain)
        forget, retain = (sets.select(name, chosen.tasks) for name in (chosen.forget, chosen.retain))
        retain += self._rehearsed(sets)
        schedule = self._training(state, chosen.unlearning(state))
        if self.asks_retrained(state):
            schedule = self._until_retrained(schedule, forget)  # before the target is in memory too
        model, processor = self._load("target")
        method, transforms = chosen.recipe(state)
        how: dict[str, Any] = {"transforms": transforms, "resume": out / RESUME, "quiet": self.quiet}
        done = unlearn(model, processor, method, forget, retain, schedule, **how)
        done.save(model, processor, out)

    def asks_retrained(self, state: str) -> bool:
        """Whether a model's unlearning ends where the retrained model is."""
        watch = self.experiment.unlearning(state).watch
        return watch is not None and watch.level is None

    def _until_retrained(self, schedule: TrainOptions, forget: list[Row]) -> TrainOptions:
        from unlearn_train.watching import answer_probability

        level = answer_probability(*self._load("retrained"), forget, schedule)
        assert schedule.watch is not None  # it asks for the level
        return dataclasses.replace(schedule, watch=dataclasses.replace(schedule.watch, level=level))

    def evaluate(self, state: str, out: Path) -> None:
        from unlearn_metrics.scoring import collect_evidence

        model, processor = self._load(state)
        asked = self.experiment.evaluate
        evidence = collect_evidence(
            model,
            processor,
            asked_sets(self.experiment, self._rows()),
            max_new_tokens=asked.max_new_tokens,
            token_budget=asked.batch_tokens,
            progress=not self.quiet,
        )
        evidence.write(out)

    def _load(self, state: str) -> tuple[Any, Any]:
        from unlearn_train.models import load_model

        chosen = self.experiment.model
        folder = self.folder / "models" / state
        how: dict[str, Any] = {"trust_remote_code": chosen.trust_remote_code, "attention": chosen.attention}
        return load_model(folder, dtype=chosen.dtype, **how)

    def _rows(self) -> RowSets:
        return RowSets.read(self.folder / "data")

    def _known(self, sets: RowSets) -> list[Row]:
        """What an embedded model learns before it meets the subjects."""
        names = ["pretrain"] if "pretrain" in sets.sets else [name for name in REAL_SETS if name in sets.sets]
        return [row for name in names for row in sets.select(name, self.experiment.tasks)]

    def _rehearsed(self, sets: RowSets) -> list[Row]:
        return self._known(sets) if self.experiment.rehearse else []

    def _tiny(self, sets: RowSets) -> tuple[Any, Any]:
        from unlearn_train.tiny import tiny_llama, tiny_llava

        texts = [text for column in ("question", "answer") for text in sets.rows[column]]
        make = tiny_llava if sets.has_images else tiny_llama
        chosen = self.experiment.model
        model, processor = make(texts, chosen.tiny, seed=self.experiment.seed_for("pretrained"))
        if chosen.attention is not None:
            model.set_attn_implementation(chosen.attention)
        return model, processor

    def _training(self, state: str, schedule: TrainOptions) -> TrainOptions:
        return dataclasses.replace(schedule, seed=self.experiment.seed_for(state))


def load_named(chosen: ModelOptions) -> tuple[Any, Any]:
    """Load the checkpoint that the options name, and its processor."""
    from unlearn_train.models import load_model

    return load_model(
        chosen.name or "",
        dtype=chosen.dtype,
        trust_remote_code=chosen.trust_remote_code,
        attention=chosen.attention,
        chat_template=None if chosen.chat_template is None else Path(chosen.chat_template),
    )


def model_key(model: ModelOptions) -> dict[str, Any]:
    """Return what a model depends on: a template's text, and which files the folder of a checkpoint has."""
    key = options.plain(model)
    path = key.pop("chat_template")
    if path is not None:
        key["chat_template"] = read_template(Path(path))
    if model.name is not None and Path(model.name).is_dir():
        key["files"] = _files_of_model(Path(model.name))
    return key


def _files_of_model(folder: Path) -> list[Any]:
    """Which files a model's folder has, those of a guarded model, and that of the model that an adapter is for.

    Not their contents: to read many gigabytes would take longer than a run with nothing to do.
    """
    folders = [folder, *(folder / name for name in PARTS_OF_GUARDED)]
    adapter = folder / "adapter_config.json"
    if adapter.is_file():
        folders.append(Path(json.loads(adapter.read_text(encoding="utf-8")).get("base_model_name_or_path") or folder))
    files = sorted(file for place in folders if place.is_dir() for file in place.iterdir() if file.is_file())
    return [(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def asked_sets(experiment: Experiment, sets: RowSets) -> Mapping[str, Sequence[Row]]:
    """Return the rows that every model is asked, by the evidence's names of the sets."""
    names = {
        "forget": experiment.forget,
        "retain": experiment.retain,
        **{name: name for name in ("holdout", *REAL_SETS) if name in sets.sets},
    }
    chosen = {}
    for shown, name in names.items():
        rows = sets.select(name, {*experiment.tasks, "mcq"})
        chosen[shown] = rows if shown == "forget" else sample_rows(rows, experiment.evaluate.rows, seed=experiment.seed)
    return chosen
