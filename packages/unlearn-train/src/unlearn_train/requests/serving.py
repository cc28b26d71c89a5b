"""A ledger of requests on disk: asked for, run one after another, decided on, undone.

`ledger.sqlite` holds the log, from which all else can be told. `models/<state>` are plain Hugging Face folders;
`evidence/<state>` holds what each model said, what the first one said to the same questions, and the numbers.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date as Date
from functools import partial
from pathlib import Path
from typing import Any

from unlearn_train import launching, options
from unlearn_train.datasource import DATASET_FILES, digest
from unlearn_train.extras import installed_version, need
from unlearn_train.locking import exclusive
from unlearn_train.requests import moves
from unlearn_train.requests.files import check_files, clear_abandoned, files_of
from unlearn_train.requests.gates import Gate, check
from unlearn_train.requests.ledger import START, Ledger, Request, State, Status
from unlearn_train.requests.log import Content, Entry, Log
from unlearn_train.requests.settings import RequestOptions
from unlearn_train.requests.working import NOTE, NUMBERS, Work
from unlearn_train.results import REPORTED
from unlearn_train.stages import Run, Stage

LEDGER, LOCK = "ledger.sqlite", ".lock"


@dataclass(frozen=True)
class Requests:
    """The deletion requests on one model."""

    folder: Path
    quiet: bool = True

    @classmethod
    def open(
        cls, folder: Path, model: str, data: Path, given: RequestOptions | None = None, *, quiet: bool = True
    ) -> "Requests":
        """Open a ledger; one that was opened with the same things is left as it is.

        Args:
            folder: of the ledger; the model is copied into it as the first state.
            model: a folder, or a name on the hub.
            data: a dataset folder. It stays where it is; a row that is altered later is noticed.
            given: how requests are served. Gates that fit the data are chosen where it names none.
            quiet: show no progress.

        Raises:
            ValueError: the model or the data cannot be used, or another ledger is there.
        """
        from unlearn_train.data import RowSets
        from unlearn_train.requests.opening import check_same, check_unguarded, take, with_gates

        _check_one_process()
        check_unguarded(model)
        chosen, requests = given or RequestOptions(), cls(folder, quiet)
        sets = RowSets.read(data)
        chosen = with_gates(chosen, sets)
        if folder.exists() and any(folder.iterdir()) and not (folder / LOCK).exists():
            raise ValueError(f"{folder} is there already and is no ledger; choose another folder.")
        settings = {"model": model, "data": str(data.resolve()), "options": options.plain(chosen)}
        settings["rows"] = digest(data, DATASET_FILES)
        with exclusive(folder / LOCK, folder):
            entries = requests._log.read()
            if entries:
                check_same(Ledger.of(entries).settings, settings, folder)
                return requests
            Run(folder, quiet).make([Stage(f"models/{START}", partial(take, model, chosen.dtype), settings)])
            opened = {"kind": "opened", **settings, "files": files_of(requests.model(START)), "versions": versions()}
            requests._log.append(lambda _: [opened])
        return requests

    @property
    def entries(self) -> list[Entry]:
        """The log.

        Raises:
            ValueError: there is no ledger, or its log was altered.
        """
        entries = self._log.read()
        if not entries:
            raise ValueError(f"{self.folder} holds no ledger; `unlearn requests init` opens one.")
        return entries

    @property
    def ledger(self) -> Ledger:
        """What is in the ledger now.

        Raises:
            ValueError: there is none, or its log was altered.
        """
        return Ledger.of(self.entries)

    def model(self, state: str) -> Path:
        """Return the folder of a state's model."""
        return self.folder / "models" / state

    def evidence(self, state: str) -> Path:
        """Return the folder of the evidence on a state."""
        return self.folder / "evidence" / state

    def numbers(self, state: str) -> dict[str, Any]:
        """Return the numbers of a state that was evaluated, see `measuring.numbers_of`.

        Raises:
            ValueError: it was not, or the file is not what was noted.
        """
        judged = self.ledger.state(state).judged
        if judged is None:
            raise ValueError(f"{state} was not evaluated.")
        folder = self.evidence(state)
        check_files(folder, judged["files"], only=NUMBERS)
        found: dict[str, Any] = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        return found

    def add(self, subjects: Sequence[str], reason: str, *, date: str | None = None, gates: Sequence[str] = ()) -> int:
        """Add a request, and return its number.

        Raises:
            ValueError: somebody is not in the data, or named by a request already; or a gate names what there will be
                no number of.
        """
        from unlearn_train.requests.naming import check_names
        from unlearn_train.requests.opening import options_of, read_rows
        from unlearn_train.requests.selecting import held_out

        _check_one_process()
        settings = self.ledger.settings
        chosen, sets = options_of(settings), read_rows(settings)
        tasks = zip(sets.rows["subject"], sets.rows["task"], strict=True)
        known = {subject for subject, task in tasks if task in chosen.tasks}
        asked = date or Date.today().isoformat()
        check_names(gates, sets, chosen, subjects)
        more: dict[str, Any] = {"gates": gates, "known": known, "held_out": held_out(sets)}
        ledger = self._append(lambda ledger: [moves.add(ledger, subjects, reason=reason, date=asked, **more)])
        return max(ledger.requests)

    def run(
        self, number: int | None = None, *, overrides: Mapping[str, Any] | None = None, wait: bool = False
    ) -> Request | None:
        """Run one request to its end, or go on with one that was cut off.

        Args:
            number: of the request; the next in the queue where None.
            overrides: `train` and `options` of this run alone, instead of the ledger's; of a request by number.
            wait: for another process that is at work, instead of refusing.

        Returns:
            The request as it is now: promoted, or waiting for a decision. None where there is none to run.

        Raises:
            RuntimeError: another process is at work, or another request has to be decided on first.
            ValueError: the model or the data was altered, or the request cannot be run.
        """
        from unlearn_train.requests.opening import options_of

        need("unlearn_metrics.scoring")
        if overrides and number is None:
            raise ValueError("options of one run are for one request; give its number.")
        with self._alone(wait):
            options_of(self.ledger.settings, overrides)
            begun: list[Content] = []

            def start(ledger: Ledger) -> list[Content]:
                begun[:] = filter(None, [moves.start(ledger, number, versions(), overrides)])
                return begun

            ledger = self._append(start)
            if not begun:
                return None
            plans = [each.plan for each in ledger.requests.values() if each.plan is not None]
            clear_abandoned(self.folder, {*ledger.states, *(plan["state"] for plan in plans)})
            request = ledger.request(begun[0]["request"])
            with self._noting_failure(request):
                self._serve(ledger, request)
            return self.ledger.request(request.number)

    def approve(self, number: int, *, by: str, note: str = "", wait: bool = False) -> Request:
        """Promote a model that waits, whatever its gates say.

        Raises:
            ValueError: it does not wait, or its files were altered.
        """
        with self._alone(wait):
            ledger = self.ledger
            request = ledger.request(number)
            if request.status is Status.WAITING and request.plan is not None:
                self.check_model(ledger.state(request.plan["state"]))
            return self._append(lambda ledger: moves.approve(ledger, number, by=by, note=note)).request(number)

    def roll_back(self, target: str, *, by: str, note: str = "", wait: bool = False) -> Ledger:
        """Undo a request, or make an earlier state the current one; see `moves.roll_back`.

        Raises:
            ValueError: there is no such request or state, the model's files were altered, or nobody answers for it.
        """
        with self._alone(wait):
            ledger = self.ledger
            for entry in moves.roll_back(ledger, target, by=by, note=note):
                self.check_model(ledger.state(entry["to"]))
            return self._append(lambda ledger: moves.roll_back(ledger, target, by=by, note=note))

    def check_model(self, state: State) -> None:
        """Check that a state's model is what was noted when it was made.

        Raises:
            ValueError: a file was altered, added or removed.
        """
        check_files(self.model(state.name), state.files)

    @property
    def _log(self) -> Log:
        return Log(self.folder / LEDGER)

    def _append(self, decide: Callable[[Ledger], Sequence[Content]]) -> Ledger:
        return Ledger.of(self._log.append(lambda entries: decide(Ledger.of(entries))))

    @contextmanager
    def _alone(self, wait: bool) -> Iterator[None]:
        _check_one_process()
        self.ledger  # noqa: B018  # where there is none, no lock is left behind
        advice = "wait for it with `--wait`, or start again later"
        with exclusive(self.folder / LOCK, self.folder, wait=wait, quiet=self.quiet, advice=advice):
            yield

    @contextmanager
    def _noting_failure(self, request: Request) -> Iterator[None]:
        """Note why a request failed; where even that fails, as on a full disk, it stays one that was cut off."""
        try:
            yield
        except Exception as error:
            text = " ".join(str(error).split()) or type(error).__name__
            failed: dict[str, Any] = {"kind": "failed", "request": request.number, "error": text}
            failed |= {"diverged": True} if isinstance(error, FloatingPointError) else {}
            try:
                self._append(lambda _: [failed])
            except (OSError, RuntimeError, ValueError) as another:
                error.add_note(f"and the failure could not be noted ({another})")
            raise

    def _serve(self, ledger: Ledger, request: Request) -> None:
        """Unlearn, evaluate, decide; what is there already of an attempt that was cut off is not done again."""
        from unlearn_train.requests.opening import options_of, read_rows
        from unlearn_train.workflow import SCORING

        plan: dict[str, Any] = dict(request.plan or {})
        chosen, sets = options_of(ledger.settings, plan.get("overrides")), read_rows(ledger.settings)
        work, run = Work(self.folder, chosen, sets, plan, self.quiet), Run(self.folder, self.quiet)
        made_from = {"plan": plan, "options": {**options.plain(chosen), "train": options.decisive(chosen.train)}}
        self.check_model(ledger.state(plan["parent"]))
        if plan["state"] not in ledger.states:
            stage = Stage(f"models/{plan['state']}", work.unlearn, made_from)
            run.make([stage])
            noted = {"kind": "unlearned", "request": request.number, "files": files_of(self.model(plan["state"]))}
            note = json.loads((run.path(stage) / NOTE).read_text(encoding="utf-8"))
            more = {"rows": note["rows"], **_costs(run.record(stage)), "versions": versions()}
            ledger = self._append(lambda _: [{**noted, **more}])
        else:
            self.check_model(ledger.state(plan["state"]))
        state = ledger.state(plan["state"])
        if plan["parent"] != START:
            self.check_model(ledger.state(START))
        evaluate = Stage(
            f"evidence/{state.name}",
            partial(work.evaluate, ledger),
            {**made_from, "files": dict(state.files)},
            packages=SCORING,
        )
        run.make([evaluate])
        folder = run.path(evaluate)
        numbers = json.loads((folder / NUMBERS).read_text(encoding="utf-8"))
        verdicts = [check(Gate.parse(gate), numbers, request.number) for gate in plan["gates"]]
        judged = moves.judge(request, verdicts, files_of(folder), **_costs(run.record(evaluate)), versions=versions())
        self._append(lambda _: judged)


def versions() -> dict[str, str]:
    """Return the versions of the packages that matter."""
    return {name: found for name in REPORTED if (found := installed_version(name))}


def _check_one_process() -> None:
    if launching.processes() > 1:
        raise ValueError(
            f"requests are served by one process, and a launcher has started {launching.processes()} (WORLD_SIZE); "
            "start `unlearn requests` by itself."
        )


def _costs(record: Mapping[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in (record or {}).items() if name != "key"}
