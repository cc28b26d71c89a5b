"""The work on one request: unlearning, and asking what came of it."""

import dataclasses
import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unlearn_train.requests.files import check_files
from unlearn_train.requests.ledger import START, Ledger
from unlearn_train.requests.settings import RequestOptions
from unlearn_train.stages import RESUME

if TYPE_CHECKING:
    from unlearn_train.data import RowSets

NUMBERS, NOTE, FIRST = "numbers.json", "unlearning.json", "start"


@dataclass(frozen=True)
class Work:
    """What the stages of a request do. The heavy imports are inside."""

    folder: Path
    """of the ledger"""
    chosen: RequestOptions
    sets: "RowSets"
    plan: Mapping[str, Any]
    quiet: bool = True

    def unlearn(self, out: Path) -> None:
        """Make the new state from the one before, with a note of what was learnt from."""
        from unlearn_train.applying import unlearn
        from unlearn_train.recipes import read_recipe
        from unlearn_train.requests.selecting import training_rows

        forget, retain = training_rows(self.sets, self.chosen, self.plan)
        method, transforms = read_recipe(self.chosen.method, self.chosen.options)
        model, processor = self._load(self.plan["parent"])
        train = dataclasses.replace(self.chosen.train, seed=self.plan["seed"])
        how: dict[str, Any] = {"transforms": transforms, "resume": out / RESUME, "quiet": self.quiet}
        done = unlearn(model, processor, method, forget, retain, train, **how)
        done.save(model, processor, out)
        rows = {"forget": len(forget), "retain": len(retain)}
        (out / NOTE).write_text(json.dumps({"rows": rows, "log": done.log}, indent=1) + "\n", encoding="utf-8")

    def evaluate(self, ledger: Ledger, out: Path) -> None:
        """Ask the new state, and the first one what nobody has asked it before; compute the numbers."""
        from unlearn_metrics import Evidence

        from unlearn_train.requests.measuring import as_asked, collect, not_asked_yet, numbers_of
        from unlearn_train.requests.selecting import asked_rows

        asked = asked_rows(self.sets, self.chosen, self.plan)
        model = self._load(self.plan["state"])
        evidence = collect(*model, asked, self.chosen.evaluate, out, quiet=self.quiet)
        del model  # one at a time
        pieces = [Evidence.read(folder) for folder in self._first_said(ledger)]
        rows = not_asked_yet(asked, pieces)
        if rows:
            first = self._load(START)
            pieces.append(collect(*first, {"start": rows}, self.chosen.evaluate, out / FIRST, quiet=self.quiet))
        numbers = numbers_of(evidence, as_asked(asked, pieces), self.plan)
        (out / NUMBERS).write_text(json.dumps(numbers, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def _first_said(self, ledger: Ledger) -> list[Path]:
        """Where evidence on the first state is: each state left that of the rows that nobody had asked before.

        What was damaged since is passed over, and its rows are asked again.
        """
        whole: list[Path] = []
        for state in ledger.states.values():
            folder = self.folder / "evidence" / state.name / FIRST
            if state.judged is not None and any(name.startswith(f"{FIRST}/") for name in state.judged["files"]):
                with suppress(ValueError):
                    check_files(folder.parent, state.judged["files"])
                    whole.append(folder)
        return whole

    def _load(self, state: str) -> tuple[Any, Any]:
        from unlearn_train.models import load_model

        return load_model(self.folder / "models" / state, dtype=self.chosen.dtype)
