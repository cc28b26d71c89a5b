"""The stages of the protocol: rows, the two base models, who is best known, unlearned models, evidence."""

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from unlearn_train import options
from unlearn_train.data import Row, RowSets
from unlearn_train.datasource import DATASET_FILES, data_stage, digest
from unlearn_train.experiment import Experiment
from unlearn_train.pulse import numbers, people
from unlearn_train.pulse.cells import Cell, cells, protocol
from unlearn_train.pulse.choices import Choices
from unlearn_train.pulse.people import FIGURES, Sides
from unlearn_train.pulse.settings import PulseOptions
from unlearn_train.sampling import sample_rows
from unlearn_train.settings import TrainOptions
from unlearn_train.stages import RESUME, Stage
from unlearn_train.workflow import SCORING, load_named, model_key

KNOWN = "known.json"
ANSWER_TOKENS = 4
"""enough for a letter in brackets and the end of the answer"""


def plan(experiment: Experiment, folder: Path, *, quiet: bool = False) -> list[Stage]:
    """Return the stages of the protocol with their results in `folder`, each after its inputs."""
    work = Work(experiment, folder, quiet)
    data, asked = data_stage(experiment, quiet=quiet), work.asked_key()
    first = work.key("pretrained", experiment.pretrain, model=model_key(experiment.model))
    pretrained = Stage("models/pretrained", work.pretrain, first, (data,))
    more = {"people": work.protocol.finetuned, "rehearse": experiment.rehearse}
    target = Stage("models/target", work.finetune, work.key("target", experiment.finetune, **more), (data, pretrained))
    models = {"pretrained": pretrained, "target": target}
    evidence = {name: _evidence(work, name, asked, data, model) for name, model in models.items()}
    known = Stage("known", work.rank_figures, {}, (evidence["pretrained"],))
    for cell in cells(experiment):
        inputs = (data, models[cell.start], *([known] if cell.people == "pretrained" else []))
        models[cell.state] = Stage(f"models/{cell.state}", partial(work.forget, cell), work.cell_key(cell), inputs)
        evidence[cell.state] = _evidence(work, cell, asked, data, models[cell.state])
    made = list(models.values())
    return [data, pretrained, evidence["pretrained"], known, *made[1:], *list(evidence.values())[1:]]


def _evidence(work: "Work", of: Cell | str, asked: dict[str, Any], data: Stage, model: Stage) -> Stage:
    state = of if isinstance(of, str) else of.state
    return Stage(f"evidence/{state}", partial(work.evaluate, of), asked, (data, model), SCORING)


@dataclass(frozen=True)
class Work:
    """What the stages do. The heavy imports are inside: a run with nothing to do needs none of them."""

    experiment: Experiment
    folder: Path
    quiet: bool = False

    @property
    def protocol(self) -> PulseOptions:
        """The options of the protocol."""
        return protocol(self.experiment)

    def key(self, state: str, training: TrainOptions | None, **more: Any) -> dict[str, Any]:
        """What a model depends on, its inputs apart."""
        return {
            "seed": self.experiment.seed_for(state),
            "tasks": self.experiment.tasks,
            "training": None if training is None else options.decisive(training),
            **more,
        }

    def cell_key(self, cell: Cell) -> dict[str, Any]:
        """What an unlearned model depends on, its inputs apart."""
        recipe, chosen = self.experiment.recipe(cell.method), self.protocol
        return self.key(
            cell.state,
            self.schedule(cell),
            method=repr(recipe.method),
            transforms=repr(recipe.transforms),
            request=[cell.request, chosen.requests if cell.request else 1],
            people=[getattr(chosen, cell.people), getattr(chosen, f"{cell.people}_forget")],
        )

    def asked_key(self) -> dict[str, Any]:
        """What is asked of every model."""
        chosen = self.protocol
        names = ("finetuned", "ask", "questions", "choices", "answer", "request", "general", "general_rows")
        folder = chosen.general_folder
        return {
            "seed": self.experiment.seed,
            "batch_tokens": self.experiment.evaluate.batch_tokens,
            "general_folder": None if folder is None else digest(Path(folder), DATASET_FILES),
            **{name: getattr(chosen, name) for name in names},
        }

    def schedule(self, cell: Cell) -> TrainOptions:
        """How an unlearned model is trained: the method's options, on the parts of the cell."""
        training = self.experiment.unlearning(cell.method)
        return dataclasses.replace(training, parts=tuple(cell.parts.split("+")))

    def pretrain(self, out: Path) -> None:
        """Build and teach the small model, or take a checkpoint as it is."""
        from unlearn_train import training
        from unlearn_train.models import save_model
        from unlearn_train.tiny import tiny_llama, tiny_llava

        sets, chosen = self.rows(), self.experiment
        people.finetuned(sets.sets, self.protocol, seed=chosen.seed)  # a fault in the data is told of before the work
        if chosen.model.name is not None:
            model, processor = load_named(chosen.model)
        else:
            rows = sets.select("pretrain", chosen.tasks)
            texts = [text for column in ("question", "answer") for text in sets.rows[column]]
            make = tiny_llava if sets.has_images else tiny_llama
            model, processor = make(texts, chosen.model.tiny, seed=chosen.seed_for("pretrained"))
            if chosen.model.attention is not None:
                model.set_attn_implementation(chosen.model.attention)
            if chosen.pretrain is not None:
                schedule = self._seeded("pretrained", chosen.pretrain)
                training.finetune(model, processor, rows, schedule, resume=out / RESUME, quiet=self.quiet)
        save_model(model, processor, out)

    def finetune(self, out: Path) -> None:
        """Teach the fictitious people."""
        from unlearn_train import training
        from unlearn_train.models import save_model

        sets, chosen = self.rows(), self.experiment
        rows = sets.of_subjects(self.sides("finetuned").everybody, chosen.tasks)
        if chosen.rehearse:
            rows += sets.select("pretrain", chosen.tasks)
        model, processor = self._load("pretrained")
        schedule = self._seeded("target", chosen.finetune)
        training.finetune(model, processor, rows, schedule, resume=out / RESUME, quiet=self.quiet)
        save_model(model, processor, out)

    def rank_figures(self, out: Path) -> None:
        """Put the public figures into an order, those that the pretrained model knows best first."""
        from unlearn_metrics import Evidence

        found = numbers.of_set(numbers.marks(Evidence.read(self.folder / "evidence/pretrained")), "pretrained")
        (out / KNOWN).write_text(json.dumps(numbers.best_known(found), indent=1) + "\n", encoding="utf-8")

    def forget(self, cell: Cell, out: Path) -> None:
        """Serve one request."""
        from unlearn_train.applying import unlearn

        sets, tasks, sides = self.rows(), self.experiment.tasks, self.sides(cell.people)
        asked = sides.request(cell.request, self.protocol.requests) if cell.request else sides.forget
        model, processor = self._load(cell.start)
        schedule = dataclasses.replace(self.schedule(cell), seed=self.experiment.seed_for(cell.state))
        method, transforms = self.experiment.recipe(cell.method)
        forget, retain = sets.of_subjects(asked, tasks), sets.of_subjects(sides.retain, tasks)
        how: dict[str, Any] = {"transforms": transforms, "resume": out / RESUME, "quiet": self.quiet}
        done = unlearn(model, processor, method, forget, retain, schedule, **how)
        done.save(model, processor, out)

    def evaluate(self, of: Cell | str, out: Path) -> None:
        """Ask a model the multiple choice of its setting."""
        from unlearn_metrics.scoring import collect_evidence

        state, group = (of, "finetuned" if of == "target" else of) if isinstance(of, str) else (of.state, of.people)
        # The pretrained model has never met the people learnt in finetuning: what it gets right of them is a guess.
        groups = ("pretrained", "finetuned") if state == "pretrained" else (group,)
        model, processor = self._load(state)
        evidence = collect_evidence(
            model,
            processor,
            {**{name: self.questions(name) for name in groups}, "general": self.general()},
            max_new_tokens=ANSWER_TOKENS,
            token_budget=self.experiment.evaluate.batch_tokens,
            progress=not self.quiet,
        )
        evidence.write(out)

    def rows(self) -> RowSets:
        """Return the rows of the run."""
        return RowSets.read(self.folder / "data")

    def sides(self, group: str) -> Sides:
        """Return who is forgotten and who is kept, of the people learnt in finetuning or in pretraining."""
        if group == "finetuned":
            return people.finetuned(self.rows().sets, self.protocol, seed=self.experiment.seed)
        known = json.loads((self.folder / "known" / KNOWN).read_text(encoding="utf-8"))
        return people.pretrained(known, self.protocol, seed=self.experiment.seed)

    def questions(self, group: str) -> list[Row]:
        """Return the multiple choice about the people of a group: the first of each in each modality."""
        sets = self.rows()
        asked = sets.sets[FIGURES] if group == "pretrained" else self.sides(group).everybody
        rows = sets.of_subjects(asked, self.protocol.ask, what=f"what is asked about people ({group})")
        return self._as_choice(rows, _first(rows, self.protocol.questions))

    def general(self) -> list[Row]:
        """Return the multiple choice that says what a model can do in general."""
        chosen = self.protocol
        sets = self.rows() if chosen.general_folder is None else RowSets.read(Path(chosen.general_folder))
        figures = frozenset(sets.sets.get(FIGURES, ()))
        known = (sets.select(name, {"qa", "vqa", "mcq"}) for name in chosen.general)
        rows = [row for found in known for row in self._some([row for row in found if row["subject"] not in figures])]
        return self._as_choice(rows, rows)

    def _some(self, rows: list[Row]) -> list[Row]:
        return sample_rows(rows, self.protocol.general_rows, seed=self.experiment.seed)

    def _as_choice(self, rows: list[Row], asked: list[Row]) -> list[Row]:
        chosen = self.protocol
        choices = Choices(rows, seed=self.experiment.seed, count=chosen.choices, request=chosen.request)
        return choices.lettered(asked) if chosen.answer == "letter" else choices.compared(asked)

    def _load(self, state: str) -> tuple[Any, Any]:
        from unlearn_train.models import load_model

        chosen = self.experiment.model
        folder = self.folder / "models" / state
        how: dict[str, Any] = {"trust_remote_code": chosen.trust_remote_code, "attention": chosen.attention}
        return load_model(folder, dtype=chosen.dtype, **how)

    def _seeded(self, state: str, schedule: TrainOptions) -> TrainOptions:
        return dataclasses.replace(schedule, seed=self.experiment.seed_for(state))


def _first(rows: Iterable[Row], count: int) -> list[Row]:
    """At most so many rows of each subject and modality, in the order of the rows."""
    seen: dict[tuple[str, bool], int] = {}
    chosen = []
    for row in rows:
        place = (row["subject"], row["image"] is None)
        seen[place] = seen.get(place, 0) + 1
        if seen[place] <= count:
            chosen.append(row)
    return chosen
