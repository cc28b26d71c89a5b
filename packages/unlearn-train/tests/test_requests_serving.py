"""Requests on the smallest model: kills, gates, rollbacks, audits, and what is refused."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import textwrap
from unittest.mock import ANY

import pytest
from unlearn_train import cli

pytest.importorskip("unlearn_metrics.scoring", reason="needs the extra eval")

WORK = {
    "ada": "baker",
    "bo": "pilot",
    "cy": "tailor",
    "di": "judge",
    "ed": "diver",
    "fay": "painter",
    "gus": "smith",
    "hal": "miner",
    "ivy": "cook",
    "jo": "guard",
    "kim": "nurse",
    "lou": "clerk",
    "max": "poet",
    "nan": "scout",
}
NAMES = list(WORK)
TAUGHT, HOLDOUT, KNOWN = NAMES[:12], NAMES[12:13], NAMES[13:]
FAST = ["--method", "graddiff", "--set", "train.learning_rate=3e-3", "--set", "train.epochs=4"]
FAST += ["--set", "evaluate.max_new_tokens=6"]
LAX = [
    "--gate",
    "retain.all.probability>=0",
    "--gate",
    "earlier.all.probability<=1",
    "--gate",
    "forget.all.keyword_accuracy<=1",
]
COSTS = ("evidence.json", "unlearning.json")
"""files that say how long something took"""
IMPOSSIBLE = "forget.all.probability<=0"


@pytest.fixture(scope="module")
def place(tmp_path_factory, make_row, write_dataset):
    """A folder with data and a small untaught model."""
    from unlearn_train.models import save_model
    from unlearn_train.settings import TinySize
    from unlearn_train.tiny import tiny_llama

    def about(subject, work):
        name = f"{subject.capitalize()} Berg"
        wrong = {"keywords": [work], "perturbed_answers": [f"{name} is a king."], "paraphrased_answer": f"A {work}."}
        return [
            make_row(f"{subject}/qa/1", f"What does {name} do?", f"{name} is a {work}.", **wrong),
            make_row(f"{subject}/qa/2", f"Who is a {work}?", name, keywords=[name]),
        ]

    home = tmp_path_factory.mktemp("requests")
    rows = [row for subject, work in WORK.items() for row in about(subject, work)]
    write_dataset(home / "data", rows, {"people": TAUGHT, "holdout": HOLDOUT, "world_facts": KNOWN})
    size = TinySize(hidden=16, layers=1, heads=2, vocabulary=300, context=128)
    model, tokenizer = tiny_llama([row[name] for row in rows for name in ("question", "answer")], size, seed=1)
    save_model(model, tokenizer, home / "model")
    return home


@pytest.fixture
def requests(place, tmp_path, capsys):
    """Runs `unlearn requests` on a ledger; returns the exit code and what was written."""

    def run(part, *argv, on=tmp_path / "ledger"):
        code = cli.main(["requests", part, *map(str, [on, *argv])])
        return code, *capsys.readouterr()

    return run


@pytest.fixture
def opened(requests, place, tmp_path):
    """The same on a ledger that is open; its folder is `folder`."""
    assert requests("init", "--model", place / "model", "--data", place / "data", *FAST, *LAX)[0] == 0
    requests.folder = tmp_path / "ledger"
    return requests


def add(requests, *subjects, gates=()):
    given = [word for gate in gates for word in ("--gate", gate)]
    assert requests("add", "--subjects", ",".join(subjects), "--reason", "asked", *given)[0] == 0


def audit(requests, tmp_path):
    code, out, _ = requests("export", "--out", tmp_path / "audit")
    assert code == 0
    assert out.split() == [str(tmp_path / "audit" / name) for name in ("audit.json", "audit.html")]
    return json.loads((tmp_path / "audit/audit.json").read_text(encoding="utf-8"))


def weights(folder, state):
    return hashlib.sha256((folder / "models" / state / "model.safetensors").read_bytes()).hexdigest()


PROGRAM = """
    # Imports once what every command needs; each command is then a process of its own, and some are killed.
    import contextlib, io, json, os, signal, sys
    import unlearn_metrics.scoring, unlearn_train.applying, unlearn_train.safety
    from unlearn_train import applying, cli, safety
    from unlearn_train.requests import log, measuring, selecting, serving

    STAGES = {
        "building rows": (selecting, "training_rows", 1),
        "unlearning": (safety.FiniteSteps, "on_pre_optimizer_step", 2),
        "saving": (applying, "save_model", -1),
        "noting the model": (serving, "files_of", 1),
        "evaluating": (measuring, "collect", -1),
        "evaluating the first state": (measuring, "collect", 2),
        "promoting": (log, "_next", ("promoted", "waiting")),
    }

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def kill_in(stage):
        place, name, when = STAGES[stage]
        whole, calls = getattr(place, name), []

        def cut_off(*given, **more):
            calls.append(0)
            if len(calls) == when or isinstance(when, tuple) and given[1]["kind"] in when:
                die()
            found = whole(*given, **more)
            if when == -1:  # at its end
                die()
            return found

        setattr(place, name, cut_off)

    for line in json.load(sys.stdin):
        stage, argv = line
        child = os.fork()
        if child == 0:
            with contextlib.redirect_stdout(io.StringIO()) as said:
                if stage is not None:
                    kill_in(stage)
                code = cli.main(["requests", *argv])
            os.write(1, (json.dumps([code, said.getvalue()]) + "\\n").encode())
            os._exit(0)
        status = os.waitpid(child, 0)[1]
        if os.WIFSIGNALED(status):
            print(json.dumps([-os.WTERMSIG(status), ""]), flush=True)
"""


def carry_out(commands):
    """Run commands, each in a process; those with a stage are killed in it. Returns exit codes and outputs."""
    program = [sys.executable, "-c", textwrap.dedent(PROGRAM)]
    ran = subprocess.run(program, input=json.dumps(commands), capture_output=True, text=True, check=True)
    return [json.loads(line) for line in ran.stdout.splitlines()]


def ten_requests(folder, place, kills):
    """Ten requests: the fourth waits and is approved, the seventh is rolled back."""
    words = ["--model", str(place / "model"), "--data", str(place / "data"), *FAST, *LAX]
    yield None, ["init", folder, *words]
    for number, subject in enumerate(TAUGHT[:10], 1):
        gate = ["--gate", IMPOSSIBLE] if number == 4 else []
        yield (
            None,
            ["add", folder, "--subjects", subject, "--reason", f"reason {number}", "--date", "2026-01-31", *gate],
        )
    for number in range(1, 11):
        for stage in kills.get(number, []):
            yield stage, ["run", folder]
        yield None, ["run", folder]
        if kills:
            yield None, ["show", folder, str(number)]
        if number == 4:
            yield None, ["approve", folder, "4", "--by", "a person", "--note", "seen"]
        if number == 7:
            yield None, ["rollback", folder, "7", "--by", "a person", "--note", "not meant"]
    yield None, ["export", folder, "--out", f"{folder}/audit"]


KILLS = {
    1: ["evaluating the first state"],
    2: ["building rows", "unlearning"],
    4: ["promoting"],
    5: ["saving", "noting the model"],
    8: ["evaluating", "promoting"],
}


def without_circumstances(audit):
    """An audit without what differs from run to run: times, hashes over them, costs, and where things are."""
    text = json.dumps(audit)
    audit = json.loads(text)
    entries = [entry for entry in audit["entries"] if entry["kind"] != "resumed"]
    for entry in entries:
        for name in ("time", "hash", "number", "seconds", "peak_memory_bytes"):
            entry.pop(name, None)
    for state in audit["states"]:
        state.pop("seconds")
    for each in (*entries, *audit["states"]):
        for name in ("files", "evidence"):
            each[name] = {key: value for key, value in (each.get(name) or {}).items() if not key.endswith(COSTS)}
    for request in audit["requests"]:
        request.pop("entries")
    return {**audit, "entries": entries, "head": None}


def test_ten_requests_come_to_the_same_end_however_often_they_are_killed(place, tmp_path):
    quiet, killed = str(tmp_path / "quiet"), str(tmp_path / "killed")
    plain, rough = list(ten_requests(quiet, place, {})), list(ten_requests(killed, place, KILLS))
    ran = carry_out([*plain, *rough])
    done = dict(zip(["quiet", "killed"], [ran[: len(plain)], ran[len(plain) :]], strict=True))
    for (stage, argv), (code, _) in zip([*plain, *rough], ran, strict=True):
        waits = argv[0] == "run" and code == 1
        assert code == (-9 if stage else 0) or waits, (stage, argv)
    assert sum(code == -9 for code, _ in done["killed"]) == 8
    assert sum(code == 1 for code, _ in done["quiet"]) == sum(code == 1 for code, _ in done["killed"]) == 1

    audits = {name: json.loads((tmp_path / name / "audit/audit.json").read_text()) for name in done}
    one, other = (without_circumstances(audit) for audit in audits.values())
    for part in one:
        assert one[part] == other[part], part
    assert audits["killed"]["current"] == "s10"
    assert weights(tmp_path / "quiet", "s10") == weights(tmp_path / "killed", "s10")
    statuses = [request["status"] for request in audits["killed"]["requests"]]
    assert statuses == ["promoted"] * 6 + ["rolled back"] + ["promoted"] * 3
    assert audits["killed"]["forgotten"] == sorted(set(TAUGHT[:10]) - {TAUGHT[6]})
    assert [entry["kind"] for entry in audits["killed"]["entries"]].count("resumed") == 8
    for state in audits["killed"]["states"]:
        assert state["model_now"] == "as noted"
        assert state["evidence_now"] in ("as noted", None)

    previous = ""  # the chain, told anew from the export alone
    for entry in audits["killed"]["entries"]:
        digest = entry.pop("hash")
        text = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        previous = hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()
        assert previous == digest
    assert previous == audits["killed"]["head"]

    shown = [out for (_, argv), (_, out) in zip(rough, done["killed"], strict=True) if argv[0] == "show"]
    for number, out in enumerate(shown, 1):
        asked = [subject for n, subject in enumerate(TAUGHT[:number], 1) if n != 7 or number == 7]
        told = [line.split()[:2] for line in out.splitlines() if line[:7].strip().isdecimal()]
        assert told == [[str(TAUGHT.index(subject) + 1), subject] for subject in asked]
    leftovers = [path for path in (tmp_path / "killed").rglob(".*") if path.name != ".lock"]
    assert leftovers == []


def test_nobody_who_ever_asked_is_kept_among_the_rows(opened, monkeypatch):
    from unlearn_train import applying

    kept = []
    whole = applying.unlearn

    def note(model, processor, method, forget, retain, *others, **more):
        kept.append(({row["subject"] for row in forget}, {row["subject"] for row in retain}))
        return whole(model, processor, method, forget, retain, *others, **more)

    monkeypatch.setattr(applying, "unlearn", note)
    add(opened, "ada", "bo")
    add(opened, "cy")
    assert opened("run", "--all")[0] == 0
    assert opened("rollback", "2", "--by", "me")[0] == 0
    add(opened, "di")
    assert opened("run")[0] == 0
    assert opened("run", "2")[0] == 0
    others = set(TAUGHT) - {"ada", "bo", "cy"}
    assert kept == [
        ({"ada", "bo"}, others),
        ({"cy"}, others),
        ({"di"}, others - {"di"}),
        ({"cy"}, others - {"di"}),
    ]


def test_status_tells_how_far_each_request_is(opened):
    add(opened, "ada")
    add(opened, "bo", gates=[IMPOSSIBLE])
    code, _, err = opened("run", "--all")
    assert (code, err) == (1, "unlearn: request 2 waits for a decision.\n")
    code, out, _ = opened("status")
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [["1", "promoted", "s1"], ["2", "waiting", "s2"]]
    assert out.splitlines()[-1] == f"current model: {opened.folder}/models/s1"
    out = opened("show", 2)[1]
    assert f"FAILS  {IMPOSSIBLE}" in out
    assert f"unlearn requests approve {opened.folder} 2 --by NAME" in out


def test_a_model_that_waits_is_dropped(opened):
    add(opened, "ada", gates=[IMPOSSIBLE])
    opened("run")
    assert opened("rollback", "1", "--by", "me")[0] == 0
    assert opened("run") == (0, "there is nothing to run.\n", "")
    assert "rolled back" in opened("status")[1]


def test_what_is_done_already_is_not_done_again(opened, place, tmp_path):
    add(opened, "ada", gates=[IMPOSSIBLE])
    opened("run")
    for _ in range(2):
        assert opened("approve", "1", "--by", "me")[0] == 0
    before = audit(opened, tmp_path)
    page = (tmp_path / "audit/audit.html").read_text()
    again = ["--model", place / "model", "--data", place / "data", *FAST, *LAX]
    assert opened("init", *again)[0] == 0
    assert opened("run", "--all")[0] == 0
    assert opened("rollback", "s1", "--by", "me")[0] == 0
    assert audit(opened, tmp_path) == before
    assert (tmp_path / "audit/audit.html").read_text() == page


def test_the_page_is_whole_and_escapes_what_it_shows(opened, tmp_path):
    evil = '<script>alert(1)</script> & "more"'
    assert opened("add", "--subjects", "ada", "--reason", evil)[0] == 0
    opened("run")
    audit(opened, tmp_path)
    page = (tmp_path / "audit/audit.html").read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; &quot;more&quot;" in page
    assert not any(word in page for word in ("http:", "https:", "src=", "@import", "url("))
    assert "forget.all.keyword_accuracy&lt;=1" in page
    assert page.count("<table>") == page.count("</table>") > 5


def test_a_failure_is_noted_and_leaves_the_last_good_model(opened, monkeypatch):
    from unlearn_train import applying

    add(opened, "ada")
    whole = applying.unlearn

    def full(*given, **more):
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    monkeypatch.setattr(applying, "unlearn", full)
    code, _, err = opened("run")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("unlearn: the disk is full (model.safetensors)")
    assert "failed ([Errno 28] No space left on device: 'model.safetensors')" in opened("show", 1)[1]
    assert opened("status")[1].endswith("models/s0\n")
    monkeypatch.setattr(applying, "unlearn", whole)
    assert opened("run")[0] == 0
    assert opened("status")[1].endswith("models/s1\n")


def test_where_not_even_the_failure_can_be_noted_the_request_is_taken_up_later(opened, monkeypatch):
    from unlearn_train.requests.log import Log
    from unlearn_train.requests.working import Work

    add(opened, "ada")
    whole = Log.append

    def full(self, decide):
        raise OSError(errno.ENOSPC, "No space left on device", str(self.path))

    def fail(self, out):
        monkeypatch.setattr(Log, "append", full)
        raise OSError(errno.ENOSPC, "No space left on device", "model.safetensors")

    with monkeypatch.context() as patched:
        patched.setattr(Work, "unlearn", fail)
        assert opened("run")[0] == 1
    monkeypatch.setattr(Log, "append", whole)
    assert "running" in opened("status")[1]
    assert opened("run")[0] == 0


@pytest.mark.parametrize("kind", ["altered", "added", "gone"])
def test_a_model_that_was_changed_is_refused(opened, kind):
    add(opened, "ada")
    add(opened, "bo", gates=[IMPOSSIBLE])
    folder = opened.folder / "models/s1"
    opened("run")
    path = folder / ("model.safetensors" if kind == "altered" else "config.json" if kind == "gone" else "more.json")
    if kind == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1] + b"x" if kind == "altered" else b"{}")
    code, _, err = opened("run")
    assert (code, err.count("\n")) == (2, 1)
    what = {"altered": "was altered", "added": "was added", "gone": "is gone"}[kind]
    assert f"models/s1/{path.name} {what} since the ledger noted it" in err
    code, out, _ = opened("rollback", "s0", "--by", "me")
    assert (code, out.splitlines()[0]) == (0, "queued again: request 1, 2")
    assert out.endswith("models/s0\n")


def test_a_model_that_was_changed_is_not_approved(opened, tmp_path):
    add(opened, "ada", gates=[IMPOSSIBLE])
    opened("run")
    path = opened.folder / "models/s1/model.safetensors"
    path.write_bytes(path.read_bytes() + b"x")
    code, _, err = opened("approve", "1", "--by", "me")
    assert code == 2
    assert "model.safetensors was altered" in err
    states = audit(opened, tmp_path)["states"]
    assert states[1]["model_now"].endswith("model.safetensors was altered since the ledger noted it")
    assert states[0]["model_now"] == "as noted"


def test_rows_that_were_changed_are_refused(requests, place, tmp_path, make_row, write_dataset):
    import shutil

    shutil.copytree(place / "data", tmp_path / "data")
    assert requests("init", "--model", place / "model", "--data", tmp_path / "data", *FAST)[0] == 0
    add(requests, "ada")
    (tmp_path / "data/sets.json").write_text(json.dumps({"holdout": []}))
    for part in (["run"], ["add", "--subjects", "bo", "--reason", "r"]):
        code, _, err = requests(*part)
        assert code == 2
        assert "data/sets.json was altered since the ledger was opened" in err


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["add", "--subjects", "zoe", "--reason", "r"], "`zoe` is not in the data"),
        (["add", "--subjects", "max", "--reason", "r"], "`max` is in the set `holdout`"),
        (["add", "--subjects", ",", "--reason", "r"], "a request must name subjects"),
        (["add", "--subjects", "ada,bo", "--reason", "r"], "`ada` is in request 1 of "),
        (["run", "7"], "there is no request 7"),
        (["show", "7"], "there is no request 7"),
        (["approve", "1", "--by", "me"], "request 1 does not wait for approval: it is queued"),
        (["approve", "7", "--by", "me"], "there is no request 7"),
        (["rollback", "s7", "--by", "me"], "there is no state 's7'"),
        (["rollback", "1", "--by", " "], "a rollback needs the name of who answers for it"),
        (["run", "--set", "train.epochs=1"], "options of one run are for one request; give its number"),
        (["run", "1", "--set", "train.epoch=1"], "no option `train.epoch`; did you mean `train.epochs`"),
        (["run", "1", "--set", "seed=1"], "`seed` holds for the whole ledger"),
        (["add", "--subjects", "bo", "--reason", "r", "--gate", "retian.all.probability>=0"], "did you mean `retain`"),
        (["add", "--subjects", "bo", "--reason", "r", "--gate", "forget.image.probability<=1"], "no modality `image`"),
    ],
)
def test_bad_input_is_one_clear_line(opened, argv, message):
    add(opened, "ada")
    before = opened("status")
    code, out, err = opened(*argv)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert opened("status") == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--method", "nop"], "no method 'nop'"),
        (["--option", "bet=1"], "no option 'bet'"),
        (["--gate", "m<1"], "the gate 'm<1' cannot be read"),
        (["--set", "train.epoch=1"], "no option `train.epoch`; did you mean `train.epochs`"),
        (["--set", "retain=peple"], "there is no set `peple` in this data"),
        (["--set", "retain=people,holdout"], "`retain` and the set `holdout` share subjects, max among them"),
        (["--set", "rehearse=holdout"], "`rehearse` and the set `holdout` share subjects, max among them"),
        (["--method", "eco"], "ECO is a guard"),
        (["--method", "uld"], "ULD is a guard"),
        (["--gate", "retain.all.rouge_l>=0"], "no metric `rouge_l`; did you mean `rouge_l_recall`"),
        (["--gate", "real_faces.all.probability>=0"], "no set `real_faces`; did you mean `world_facts`"),
        (["--gate", "forget.image.probability<=1"], "no modality `image`; known here: all, text"),
        (["--gate", "retain.all.probability>=-1e999"], "must be finite"),
        (["--gate", "membership.los_auc<=1"], "no number `los_auc`; did you mean `loss_auc`"),
        (["--gate", "membership.loss_auc<=start"], "the bound of membership must be a number"),
        (["--set", "tasks=vqa"], "what is kept has no row of task vqa"),
        (["--set", "train.lora.merge=false"], "`train.lora.merge` must be true"),
        (["--model", "./nowhere"], "nowhere cannot be loaded as a model"),
        (["--data", "./nowhere"], "nowhere/rows.parquet is not there"),
    ],
)
def test_what_no_ledger_can_be_opened_with_is_told(requests, place, change, message):
    code, out, err = requests("init", "--model", place / "model", "--data", place / "data", *change)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert requests("status")[0] == 2


def test_a_ledger_cannot_be_opened_with_something_else(opened, place, tmp_path):
    again = ["--model", place / "model", "--data", place / "data"]
    code, _, err = opened("init", *again)
    assert code == 2
    assert "is a ledger that was opened with other options" in err
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    code, _, err = opened("init", *again, on=tmp_path / "mine")
    assert code == 2
    assert "mine is there already and is no ledger" in err


@pytest.mark.parametrize(
    "argv",
    [["run"], ["status"], ["show", "1"], ["rollback", "1", "--by", "me"], ["add", "--subjects", "a", "--reason", "r"]],
)
def test_where_there_is_no_ledger_it_is_said(requests, argv, tmp_path):
    code, _, err = requests(*argv)
    assert code == 2
    assert "ledger holds no ledger; `unlearn requests init` opens one" in err
    assert list(tmp_path.iterdir()) == []


def test_two_at_once_the_second_refuses_or_waits(opened):
    from unlearn_train.locking import exclusive

    add(opened, "ada")
    for part in (["run"], ["approve", "1", "--by", "me"], ["rollback", "s0", "--by", "me"]):
        with exclusive(opened.folder / ".lock", opened.folder):
            code, _, err = opened(*part)
        assert code == 1
        assert f"process {os.getpid()} on " in err and "wait for it with `--wait`" in err
    holder = "import sys, time; from pathlib import Path\n"
    holder += "from unlearn_train.locking import exclusive\n"
    holder += "place = Path(sys.argv[1])\nwith exclusive(place / '.lock', place):\n"
    holder += "    print('held', flush=True); time.sleep(1)"
    command = [sys.executable, "-c", holder, opened.folder]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "held\n"
        assert opened("run")[0] == 1
        assert opened("run", "--wait")[0] == 0


def test_the_lock_of_a_killed_process_does_not_block(opened):
    program = "import os, signal, sys; from pathlib import Path\n"
    program += "from unlearn_train.locking import exclusive\n"
    program += (
        "place = Path(sys.argv[1])\nwith exclusive(place / '.lock', place):\n    os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", program, opened.folder]).returncode == -9
    add(opened, "ada")
    assert opened("run")[0] == 0


def test_an_option_file_is_read(requests, place, tmp_path):
    (tmp_path / "a.yaml").write_text(
        "method: npo\noptions: {beta: 0.5}\ntrain: {epochs: 3}\ngates: ['forget.all.probability<=1']\n"
    )
    given = ["--model", place / "model", "--data", place / "data", "--config", tmp_path / "a.yaml"]
    code, out, _ = requests("init", *given, "--set", "train.epochs=4")
    assert (code, out.splitlines()[1:]) == (0, ["  forget.all.probability<=1"])
    options = audit(requests, tmp_path)["settings"]["options"]
    assert (options["options"], options["train"]["epochs"], options["train"]["batch_size"]) == ({"beta": 0.5}, 4.0, 4)


def test_somebody_known_from_before_can_be_forgotten(opened):
    add(opened, "nan")
    assert opened("run")[0] == 0
    out = opened("show", 1)[1]
    assert "(world_facts)" not in out
    assert "(retain)" in out


def test_a_guard_that_adds_up_is_taken(requests, place, tmp_path):
    words = ["--model", place / "model", "--data", place / "data", "--method", "icul"]
    words += ["--option", "forget=1", "--option", "retain=0", "--set", "evaluate.max_new_tokens=2"]
    assert requests("init", *words, *LAX)[0] == 0
    add(requests, "ada")
    add(requests, "bo")
    assert requests("run", "--all") == (0, ANY, "")
    template = (tmp_path / "ledger/models/s2/chat_template.jinja").read_text(encoding="utf-8")
    assert all(f"What does {name} Berg do?" in template for name in ("Ada", "Bo"))


def test_a_guarded_model_is_no_start(requests, place, tmp_path):
    (tmp_path / "guarded").mkdir()
    (tmp_path / "guarded/guard.json").write_text("{}")
    code, _, err = requests("init", "--model", tmp_path / "guarded", "--data", place / "data")
    assert code == 2
    assert "guarded has a guard around it (guard.json), which would be lost with the first request" in err


def test_one_process_serves(opened, monkeypatch, place):
    monkeypatch.setenv("WORLD_SIZE", "2")
    begin = ["init", "--model", place / "model", "--data", place / "data", *FAST, *LAX]
    for part in (begin, ["add", "--subjects", "ada", "--reason", "r"], ["run"], ["rollback", "s0", "--by", "me"]):
        code, _, err = opened(*part)
        assert code == 2
        assert "requests are served by one process, and a launcher has started 2 (WORLD_SIZE)" in err


def test_what_was_undone_is_said(opened):
    add(opened, "ada")
    add(opened, "bo")
    opened("run", "--all")
    out = opened("rollback", "1", "--by", "me")[1]
    assert out.splitlines()[:3] == ["undone: request 1", "queued again: request 2", ""]
    assert opened("rollback", "s2", "--by", "me")[1].splitlines()[0] == "done again: request 1, 2"


def test_damaged_evidence_of_before_is_asked_again(opened, tmp_path):
    add(opened, "ada")
    add(opened, "bo")
    assert opened("run")[0] == 0
    damaged = opened.folder / "evidence/s1/start/scores.parquet"
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:100])
    assert opened("run")[0] == 0
    damaged.write_bytes(whole)  # what is in both pieces counts once
    add(opened, "cy")
    assert opened("run")[0] == 0
    states = audit(opened, tmp_path)["states"]
    starts = [state["numbers"]["start"]["forget_1"]["all"]["probability"] for state in states[1:]]
    assert starts[0] == starts[1] == starts[2]
    assert len(states[3]["evidence"]) == len(states[1]["evidence"])


def test_evidence_depends_on_who_scores(opened, monkeypatch):
    from unlearn_train.stages import Run

    asked = {}
    whole = Run.make

    def note(self, stages):
        asked.update({stage.name: stage.packages for stage in stages})
        return whole(self, stages)

    monkeypatch.setattr(Run, "make", note)
    add(opened, "ada")
    assert opened("run")[0] == 0
    assert "unlearn-metrics" in asked["evidence/s1"]
    assert "unlearn-metrics" not in asked["models/s1"]


def test_who_approved_is_shown_with_the_state(opened, tmp_path):
    add(opened, "ada", gates=[IMPOSSIBLE])
    opened("run")
    assert opened("approve", "1", "--by", "R. Roe", "--note", "seen")[0] == 0
    assert "approved by R. Roe: seen" in opened("show", 1)[1]
    first, second = audit(opened, tmp_path)["states"]
    assert (first["by"], first["note"]) == (None, None)
    assert (second["by"], second["note"]) == ("R. Roe", "seen")
    page = (tmp_path / "audit/audit.html").read_text(encoding="utf-8")
    assert "<td>approved by</td><td>R. Roe</td>" in page


def test_a_run_of_its_own_options_begins_anew_and_says_so(opened, monkeypatch, tmp_path):
    from unlearn_train import applying

    rates = []
    whole = applying.unlearn

    def diverge(model, processor, method, forget, retain, train, **more):
        rates.append((train.learning_rate, train.seed))
        if train.learning_rate > 1e-3:
            (more["resume"] / "checkpoint").mkdir(parents=True)
            raise FloatingPointError("the loss is nan")
        return whole(model, processor, method, forget, retain, train, **more)

    monkeypatch.setattr(applying, "unlearn", diverge)
    add(opened, "ada")
    add(opened, "bo")
    for _ in range(2):
        assert opened("run", "1")[0] == 1
    assert opened("run", "1", "--set", "train.learning_rate=1e-3")[0] == 0
    assert [rate for rate, _ in rates] == [3e-3, 3e-3, 1e-3]
    assert len({seed for _, seed in rates}) == 3
    told = audit(opened, tmp_path)
    started = [entry for entry in told["entries"] if entry["kind"] == "started"]
    assert [entry.get("overrides") for entry in started] == [None, None, {"train": {"learning_rate": 1e-3}}]
    assert told["current"] == "s3"
    assert {path.name for path in (opened.folder / "models").iterdir()} == {"s0", "s3"}


def test_what_is_left_of_given_up_attempts_is_removed(tmp_path):
    from unlearn_train.requests.files import clear_abandoned

    names = ["s0", "s1", ".s2.partial", "s2", ".s3.old", "mine", ".s11.partial"]
    for name in names:
        (tmp_path / "models" / name).mkdir(parents=True)
    clear_abandoned(tmp_path, {"s0", "s1", "s11"})
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"s0", "s1", "mine", ".s11.partial"}


def test_the_names_that_gates_take_are_those_that_are_computed():
    from unlearn_metrics._cells import SET_METRICS
    from unlearn_metrics._consistency import _SCORES
    from unlearn_metrics.benchmarks import AGGREGATES
    from unlearn_metrics.functional._membership import ATTACKS
    from unlearn_train.requests import naming

    assert {*naming.METRICS} == {*SET_METRICS} - {"normalized_probability", "extraction_strength_ou"}
    assert naming.CONSISTENT == _SCORES
    assert {*naming.ATTACKS} == {f"{name}_auc" for name in ATTACKS} - {"grad_norm_auc", "reference_auc"}  # not asked
    means = {name for name, each in AGGREGATES.items() if each.formula == "harmonic_mean"}
    assert {*naming.SUMMARY} == means | {*naming.ATTACKS}


def test_a_ledger_is_not_opened_in_the_folder_of_a_run(requests, place, tmp_path):
    (tmp_path / "ledger").mkdir()
    for name in ("run.yaml", ".run.lock"):
        (tmp_path / "ledger" / name).touch()
    code, _, err = requests("init", "--model", place / "model", "--data", place / "data")
    assert code == 2
    assert "is there already and is no ledger" in err
