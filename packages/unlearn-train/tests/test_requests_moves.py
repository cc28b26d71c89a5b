"""What may be done with a ledger, tried without any model."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unlearn_train.requests import moves
from unlearn_train.requests.gates import Verdict
from unlearn_train.requests.ledger import Ledger, Status
from unlearn_train.requests.log import Entry

OPENED = {"kind": "opened", "files": {}, "options": {"seed": 0, "gates": ["forget.all.m<=1"]}, "versions": {}}
PEOPLE = [*"abcdefghij"]


class Book:
    """A log in memory, and moves that append to it."""

    def __init__(self):
        self.entries = []
        self.append(OPENED)

    @property
    def ledger(self):
        return Ledger.of(self.entries)

    def append(self, *contents):
        for content in contents:
            content = dict(content)
            self.entries.append(Entry(len(self.entries) + 1, "", content.pop("kind"), content, ""))

    def add(self, *subjects, **more):
        given = {"reason": "asked", "date": "2026-01-31", "known": PEOPLE, "held_out": ["j"], **more}
        self.append(moves.add(self.ledger, subjects, **given))

    def run(self, number=None, *, passes=True, until="judged", overrides=None):
        begun = moves.start(self.ledger, number, {}, overrides)
        if begun is None:
            return
        self.append(begun)
        request = self.ledger.request(begun["request"])
        if until == "started":
            return
        if until in ("failed", "diverged"):
            how = {"diverged": True} if until == "diverged" else {}
            self.append({"kind": "failed", "request": request.number, "error": "nan", **how})
            return
        if request.plan["state"] not in self.ledger.states:
            self.append({"kind": "unlearned", "request": request.number, "files": {}})
        if until == "unlearned":
            return
        self.append(*moves.judge(request, [Verdict("g", passes, 0.0, 0.0)], {}))

    def approve(self, number):
        self.append(*moves.approve(self.ledger, number, by="me", note=""))

    def roll_back(self, target):
        self.append(*moves.roll_back(self.ledger, str(target), by="me", note=""))

    def statuses(self):
        return [str(each.status) for _, each in sorted(self.ledger.requests.items())]


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def three():
    """Three requests, all promoted."""
    book = Book()
    for subject in "abc":
        book.add(subject)
        book.run()
    return book


def test_requests_are_run_in_their_order(book):
    for subject in "abc":
        book.add(subject)
    book.run()
    book.run(3)
    assert book.statuses() == ["promoted", "queued", "promoted"]
    book.run()
    assert book.statuses() == ["promoted"] * 3
    assert book.ledger.forgotten(book.ledger.current) == [1, 3, 2]
    assert moves.start(book.ledger, None, {}) is None


def test_a_plan_says_what_is_done(three):
    three.add("e", "d", gates=["retain.all.m>=1"])
    three.add("f")
    three.run(until="started")
    plan = three.ledger.requests[4].plan
    assert {name: plan[name] for name in ("state", "parent", "subjects", "earlier", "left_out", "gates")} == {
        "state": "s4",
        "parent": "s3",
        "subjects": ["d", "e"],
        "earlier": {"1": ["a"], "2": ["b"], "3": ["c"]},
        "left_out": ["a", "b", "c", "d", "e", "f"],
        "gates": ["forget.all.m<=1", "retain.all.m>=1"],
    }


def test_what_was_cut_off_is_taken_up_with_the_same_plan(book):
    book.add("a")
    for until in ("started", "failed", "unlearned", "failed"):
        book.run(until=until)
        plan = book.ledger.requests[1].plan
        book.run(until="started")
        assert book.ledger.requests[1].plan == plan
        assert book.statuses()[0] == "running"
    book.run()
    assert book.statuses()[0] == "promoted"
    assert [entry.kind for entry in book.entries].count("started") == 1


@pytest.mark.parametrize("until", ["started", "failed"])
def test_whoever_asked_since_is_left_out_of_what_begins_anew(book, until):
    book.add("a")
    book.run(until=until)
    book.add("b")
    book.run(1, until="started")
    plan = book.ledger.requests[1].plan
    assert (plan["state"], plan["left_out"]) == ("s2", ["a", "b"])


def test_whoever_asked_once_a_model_was_there_cannot_be_left_out_of_it(book):
    book.add("a")
    book.run(until="unlearned")
    book.add("b")
    book.run()
    assert (book.ledger.current, book.ledger.requests[1].plan["left_out"]) == ("s1", ["a"])


def test_a_failed_request_never_takes_the_model_of_another(book):
    book.add("a")
    book.add("b")
    book.run(1, until="failed")
    book.run(2)
    book.roll_back(2)
    book.run()
    ledger = book.ledger
    assert book.statuses() == ["promoted", "rolled back"]
    assert {name: state.request for name, state in ledger.states.items()} == {"s0": None, "s2": 2, "s1": 1}
    assert (ledger.current, ledger.forgotten(ledger.current)) == ("s1", [1])


def test_a_model_of_another_is_not_gone_on_with(book):
    book.add("a")
    book.add("b")
    book.run(1, until="failed")
    # as logs had it in which a name could be used twice
    book.append({**moves.start(book.ledger, 2, {}), "state": "s1"}, {"kind": "unlearned", "request": 2, "files": {}})
    book.roll_back(2)
    book.run(1, until="started")
    assert book.ledger.requests[1].plan["state"] == "s2"


def test_what_failed_holds_nobody_up(book):
    for subject in "abc":
        book.add(subject)
    book.run(until="failed")
    book.run()
    book.run()
    assert book.statuses() == ["failed", "promoted", "promoted"]
    book.run()
    assert book.statuses() == ["promoted"] * 3


def test_what_diverged_begins_anew_with_another_seed(book):
    book.add("a")
    seeds, states = set(), []
    for _ in range(3):
        book.run(until="started")
        plan = book.ledger.requests[1].plan
        seeds.add(plan["seed"])
        states.append(plan["state"])
        book.run(until="diverged")
    assert (len(seeds), states) == (3, ["s1", "s2", "s3"])


def test_options_of_one_run_stay_with_it(book):
    faster = {"train": {"learning_rate": 1e-3}}
    book.add("a")
    book.run(until="failed")
    book.run(1, until="failed", overrides=faster)
    assert {name: book.ledger.requests[1].plan[name] for name in ("state", "overrides")} == {
        "state": "s2",
        "overrides": faster,
    }
    book.run()
    assert book.ledger.current == "s2"
    book.add("b")
    book.run()
    assert "overrides" not in book.ledger.requests[2].plan


def test_a_request_that_waits_holds_up_the_others(book):
    book.add("a")
    book.add("b")
    book.run(passes=False)
    assert (book.statuses(), book.ledger.current) == (["waiting", "queued"], "s0")
    for number in (None, 1, 2):
        with pytest.raises(RuntimeError, match="request 1 waits for a decision"):
            book.run(number)
    book.approve(1)
    before = len(book.entries)
    book.approve(1)
    assert (book.statuses(), book.ledger.current, len(book.entries)) == (["promoted", "queued"], "s1", before)


def test_a_request_that_waits_can_be_dropped_and_run_again(book):
    book.add("a")
    book.run(passes=False)
    book.roll_back(1)
    assert (book.statuses(), book.ledger.current) == (["rolled back"], "s0")
    book.run()
    assert book.statuses() == ["rolled back"]
    book.run(1)
    assert (book.statuses(), book.ledger.current) == (["promoted"], "s2")


def test_undoing_a_request_queues_those_after_it(three):
    three.roll_back(2)
    assert (three.statuses(), three.ledger.current) == (["promoted", "rolled back", "queued"], "s1")
    before = len(three.entries)
    three.roll_back(2)
    assert len(three.entries) == before
    three.run()
    assert three.ledger.states["s4"].parent == "s1"
    assert three.ledger.requests[3].plan["left_out"] == ["a", "b", "c"]
    three.run(2)
    assert three.ledger.forgotten(three.ledger.current) == [1, 3, 2]


def test_going_back_to_a_state_queues_all_after_it_and_going_on_restores_them(three):
    three.roll_back("s1")
    assert (three.statuses(), three.ledger.current) == (["promoted", "queued", "queued"], "s1")
    before = len(three.entries)
    three.roll_back("s1")
    assert len(three.entries) == before
    three.roll_back("s3")
    assert (three.statuses(), three.ledger.current) == (["promoted"] * 3, "s3")
    assert three.ledger.requests[2].plan["state"] == "s2"
    three.roll_back("s0")
    assert (three.statuses(), three.ledger.current) == (["queued"] * 3, "s0")
    three.roll_back(2)
    assert three.statuses() == ["queued", "rolled back", "queued"]


@pytest.mark.parametrize("until", ["started", "unlearned", "failed"])
def test_going_back_to_a_state_has_all_that_is_under_way_begin_anew(three, until):
    three.add("d")
    three.run(until=until)
    three.roll_back("s3")
    assert (three.statuses(), three.ledger.requests[4].plan) == ([*["promoted"] * 3, "queued"], None)
    three.run()
    assert three.ledger.current == "s5"


def test_somebody_of_a_request_that_was_undone_can_be_asked_for_alone(book):
    book.add("a", "b")
    book.run()
    book.roll_back(1)
    book.add("a")
    for act in (lambda: book.run(1), lambda: book.roll_back("s1")):
        with pytest.raises(ValueError, match="request 1 was rolled back, and `a` is in request 2 by now"):
            act()
    book.run()
    assert book.ledger.forgotten(book.ledger.current) == [2]
    book.roll_back(2)
    book.run(1)
    assert book.statuses() == ["promoted", "rolled back"]


def test_somebody_answers_for_what_is_undone(three):
    with pytest.raises(ValueError, match="a rollback needs the name of who answers for it"):
        moves.roll_back(three.ledger, "1", by=" ", note="")


def test_going_back_gives_up_what_is_under_way(three):
    three.add("d")
    three.run(until="unlearned")
    three.roll_back(3)
    assert three.statuses() == ["promoted", "promoted", "rolled back", "queued"]
    three.run(passes=False)
    assert three.ledger.requests[4].plan["parent"] == "s2"
    three.roll_back("s2")
    assert three.statuses() == ["promoted", "promoted", "rolled back", "queued"]


def test_one_that_was_cut_off_goes_first(book):
    book.add("a")
    book.add("b")
    book.run(2, until="started")
    with pytest.raises(RuntimeError, match="request 2 was cut off: `run FOLDER` goes on with it"):
        book.run(1)
    book.run()
    assert book.statuses() == ["queued", "promoted"]


def test_a_failure_is_noted_and_tried_again(book):
    book.add("a")
    book.run(until="failed")
    assert (book.statuses(), book.ledger.requests[1].error) == (["failed"], "nan")
    book.run()
    assert (book.statuses(), book.ledger.requests[1].error) == (["promoted"], None)


def test_a_failed_one_starts_from_the_model_of_those_done_since(book):
    book.add("a")
    book.add("b")
    book.run(until="failed")
    book.run(2)
    book.run()
    assert book.ledger.forgotten(book.ledger.current) == [2, 1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"subjects": []}, "must name subjects"),
        ({"reason": " "}, "must have a reason"),
        ({"date": "31.1."}, "a date is written as 2026-01-31, got '31.1.'"),
        ({"gates": ["m<1"]}, "the gate 'm<1' cannot be read"),
        ({"subjects": ["x", "d"]}, "`x` is not in the data"),
        ({"subjects": ["x", "y"]}, "`x`, `y` are not in the data"),
        ({"subjects": ["j"]}, "`j` is in the set `holdout`"),
        ({"subjects": ["d", "a"]}, "`a` is in request 1 of 2026-01-31 already (promoted); nothing was added"),
        ({"subjects": ["b"]}, "`b` is in request 2 of 2026-01-31 already (queued); nothing was added"),
    ],
)
def test_what_cannot_be_asked_is_refused(three, given, message):
    three.roll_back("s1")
    with pytest.raises(ValueError) as error:
        three.add(*given.pop("subjects", ["d"]), **given)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda book: book.run(9), "there is no request 9; the last is 3"),
        (lambda book: book.run(1), "request 1 is done: its model was promoted"),
        (lambda book: book.approve(9), "there is no request 9"),
        (lambda book: book.approve(2), "request 2 does not wait for approval: it is rolled back"),
        (lambda book: book.roll_back(9), "there is no request 9"),
        (lambda book: book.roll_back("s9"), "there is no state 's9'; there are s0, s1, s2, s3"),
        (lambda book: book.roll_back("s4"), "s4 was never promoted"),
    ],
)
def test_what_cannot_be_done_is_refused(three, act, message):
    if "s4" in message:
        three.add("d")
        three.run(passes=False)
    if "rolled back" in message:
        three.roll_back(2)
    with pytest.raises(ValueError) as error:
        act(three)
    assert message in str(error.value)


def test_a_ledger_of_a_newer_version_is_refused(book):
    book.append({"kind": "sealed"})
    with pytest.raises(ValueError, match="an entry of kind 'sealed', which this version does not know"):
        book.ledger  # noqa: B018


ACTS = st.one_of(
    st.tuples(st.just("add"), st.sampled_from("abcdefghi")),
    st.tuples(
        st.just("run"),
        st.sampled_from([None, 1, 2, 3]),
        st.booleans(),
        st.sampled_from(["judged", "failed", "diverged", "started", "unlearned"]),
    ),
    st.tuples(st.just("approve"), st.integers(1, 4)),
    st.tuples(st.just("roll_back"), st.sampled_from(["1", "2", "3", "s0", "s1", "s2", "s3"])),
)


def do(book, act):
    name, *given = act
    try:
        if name == "run":
            book.run(given[0], passes=given[1], until=given[2])
        else:
            getattr(book, name)(*given)
    except (ValueError, RuntimeError):
        pass


@settings(max_examples=50)
@given(st.lists(ACTS, max_size=25))
def test_whatever_is_done_a_ledger_adds_up(acts):
    book = Book()
    for act in acts:
        before = book.ledger
        do(book, act)
        ledger = book.ledger
        forgotten = ledger.forgotten(ledger.current)
        assert sorted(forgotten) == [each.number for each in ledger.having(Status.PROMOTED)]
        for number in forgotten:
            assert ledger.states[ledger.requests[number].plan["state"]] in ledger.lineage(ledger.current)
        assert all(state.promoted for state in ledger.lineage(ledger.current))
        assert len(ledger.having(Status.WAITING)) + len(ledger.having(Status.RUNNING)) <= 1
        for request in ledger.having(Status.WAITING, Status.RUNNING):
            assert request.plan["parent"] == ledger.current
        for request in ledger.having(Status.QUEUED, Status.ROLLED_BACK):
            assert request.plan is None
        assert before.requests.keys() <= ledger.requests.keys()
        assert before.states.keys() <= ledger.states.keys()
        alive = [each for each in ledger.requests.values() if each.status is not Status.ROLLED_BACK]
        for one, other in itertools.combinations(alive, 2):
            assert not set(one.subjects) & set(other.subjects)
        for name, state in before.states.items():
            assert (ledger.states[name].request, ledger.states[name].plan) == (state.request, state.plan)
        for request in ledger.requests.values():
            made = ledger.states.get(request.plan["state"]) if request.plan else None
            assert made is None or made.request == request.number
