import numpy as np
import pytest
import torch
from unlearn_metrics import SCORES_SCHEMA
from unlearn_metrics.scoring import Encoder, _statistics, score
from unlearn_metrics.scoring._batches import AnswerBatch
from unlearn_metrics.scoring._forward import Forward
from unlearn_metrics.scoring._memory import TokenBudget
from unlearn_metrics.scoring._reading import Read
from unlearn_metrics.scoring._requests import Answer
from unlearn_metrics.scoring._statistics import token_statistics

NUMBERS = ("logp", "mean", "std")


def one_at_a_time(model, processor, row, text):
    """The plain forward pass of one exchange, tokenized by the chat template, in float64 after the logits."""
    is_text = not hasattr(processor, "tokenizer")
    picture = [{"type": "image", "image": row["image"]}] * (row["image"] is not None)
    user = row["question"] if is_text else [*picture, {"type": "text", "text": row["question"]}]
    chat = [{"role": "user", "content": user}]
    answered = [*chat, {"role": "assistant", "content": text if is_text else [{"type": "text", "text": text}]}]
    options = {"tokenize": True, "return_dict": True, "return_tensors": "pt"}
    start = processor.apply_chat_template(chat, add_generation_prompt=True, **options)["input_ids"].shape[1]
    inputs = processor.apply_chat_template(answered, **options)
    with torch.no_grad():
        logits = model(**inputs).logits[0, start - 1 : -1].double()
    tokens = inputs["input_ids"][0, start:]
    logps = logits - logits.exp().sum(-1, keepdim=True).log()
    mean = (logps.exp() * logps).sum(-1)
    return {
        "tokens": tokens.tolist(),
        "logp": [float(row[token]) for row, token in zip(logps, tokens, strict=True)],
        "hit": [int(row.argmax()) == int(token) for row, token in zip(logits, tokens, strict=True)],
        "mean": mean.tolist(),
        "std": ((logps.exp() * (logps - mean[:, None]) ** 2).sum(-1)).sqrt().tolist(),
    }


def expected_texts(row):
    if row["task"] == "mcq":
        wrong = [option for option in row["options"] if option != row["answer"]]
        return [("answer", 0, row["answer"])] + [("perturbed", n, text) for n, text in enumerate(wrong)]
    paraphrase = row["paraphrased_answer"]
    return (
        [("answer", 0, row["answer"])]
        + [("paraphrase", 0, paraphrase)] * (paraphrase is not None)
        + [("perturbed", n, text) for n, text in enumerate(row["perturbed_answers"])]
    )


def assert_same(got, wanted, tolerance=1e-5):
    got, wanted = got.to_pylist(), wanted.to_pylist()
    assert len(got) == len(wanted)
    for one, other in zip(got, wanted, strict=True):
        for name in one:
            if name in NUMBERS:
                np.testing.assert_allclose(one[name], other[name], rtol=0, atol=tolerance)
            else:
                assert one[name] == other[name]


@pytest.mark.parametrize("name", ["llama", "gpt2", "llava", "gemma2", "granite", "mamba"])
def test_scores_equal_one_forward_pass_at_a_time(models, make_rows, name):
    model, processor = models[name]
    rows = make_rows(9, images=name == "llava")
    table = score(model, processor, rows, set_name="forget10")
    assert table.schema == SCORES_SCHEMA
    wanted = [(row, *each) for row in rows for each in expected_texts(row)]
    assert table.num_rows == len(wanted)
    for got, (row, kind, index, text) in zip(table.to_pylist(), wanted, strict=True):
        reference = one_at_a_time(model, processor, row, text)
        modality = "text" if row["image"] is None else "image"
        assert (got["set"], got["id"], got["subject"]) == ("forget10", row["id"], row["subject"])
        assert (got["task"], got["modality"]) == (row["task"], modality)
        assert (got["kind"], got["index"], got["text"]) == (kind, index, text)
        assert (got["tokens"], got["hit"]) == (reference["tokens"], reference["hit"])
        for column in NUMBERS:
            np.testing.assert_allclose(got[column], reference[column], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "gpt2", "llava", "gemma2"])
@pytest.mark.parametrize("share", [True, False])
def test_batches_order_and_padding_change_nothing(models, make_rows, name, share):
    model, processor = models[name]
    rows = make_rows(12, images=name == "llava")
    alone = score(model, processor, rows, set_name="a", token_budget=1, share_prompts=False)
    for budget in (200, 700, 2**20):
        options = {"set_name": "a", "token_budget": budget, "share_prompts": share}
        assert_same(score(model, processor, rows, **options), alone)
        backwards = score(model, processor, rows[::-1], **options)
        order = {row["id"]: n for n, row in enumerate(rows)}
        at = sorted(range(backwards.num_rows), key=lambda n: order[backwards["id"][n].as_py()])
        assert_same(backwards.take(at), alone)


def test_every_distinct_answer_is_scored_once(models, make_rows, monkeypatch):
    model, processor = models["llava"]
    rows = make_rows(6, images=True)
    scored = []
    score_batch = Forward.score
    monkeypatch.setattr(Forward, "score", lambda self, batch: scored.extend(batch.flat()) or score_batch(self, batch))
    twice = score(model, processor, [*rows, *({**row, "id": f"{row['id']}-b"} for row in rows)], set_name="a")
    distinct = {
        (row["question"], row["image"] and row["image"].tobytes(), text)
        for row in rows
        for _, _, text in expected_texts(row)
    }
    assert len(scored) == len(distinct)
    assert_same(
        twice.slice(0, twice.num_rows // 2).drop_columns("id"), twice.slice(twice.num_rows // 2).drop_columns("id")
    )


def test_prompts_are_shared_only_where_that_is_right(models, make_rows):
    for name, kinds in {"llama": {True}, "llava": {True}, "mamba": {False}}.items():
        model, processor = models[name]
        encoder = Encoder(processor)
        forward = Forward(model, encoder)
        for row in make_rows(9, images=name == "llava"):
            prompt = encoder.prompt(row["question"], row["image"])
            ids = encoder.answers(prompt, ["In Oslo.", "In Lima."])
            forward.score(AnswerBatch([[Answer(n, prompt, each, row["id"]) for n, each in enumerate(ids)]]))
        assert {ways.prompts for ways in forward.chosen.values()} == kinds


def test_a_model_that_sees_what_follows_is_refused(models, make_rows, monkeypatch):
    """As PaliGemma does in what it takes for a prompt, or a model of masked language."""
    model, processor = models["llama"]
    forward = model.model.forward

    def of_all(*args, input_ids, attention_mask=None, **kwargs):
        shape = (len(input_ids), 1, input_ids.shape[1], input_ids.shape[1])
        return forward(*args, input_ids=input_ids, attention_mask=torch.zeros(shape), **kwargs)

    monkeypatch.setattr(model.model, "forward", of_all)
    with pytest.raises(ValueError, match=r"row s0/qa/\d+: .* LlamaForCausalLM, .* sees what is to come"):
        score(model, processor, make_rows(3), set_name="a")


def test_a_number_that_is_none_is_traced_to_its_row(models):
    prompt = Encoder(models["llama"][1]).prompt("Who?")
    answers = [Answer(n, prompt, [1, 2], f"row-{n}") for n in range(3)]
    logits = torch.zeros(5, 4)
    logits[3, 1] = torch.nan  # the second token of the last two
    read = Read(answers, logits, [1, 2, 1, 2, 1], [0, 1, 2, 3, 4, 3], None)
    with pytest.raises(ValueError, match=r"NaN or infinite, in row row-1 \(prompt"):
        read.scores(torch.clone, 0)


CPU_ERROR = RuntimeError("[enforce fail at alloc_cpu.cpp:127] err == 0. DefaultCPUAllocator: can't allocate memory")


@pytest.mark.parametrize("error", [torch.OutOfMemoryError("CUDA out of memory."), CPU_ERROR], ids=["cuda", "cpu"])
def test_out_of_memory_halves_the_batch(models, make_rows, monkeypatch, error):
    model, processor = models["llama"]
    rows = make_rows(9)
    wanted = score(model, processor, rows, set_name="a")
    forward = model.model.forward
    sizes = []

    def small(*args, input_ids, **kwargs):
        sizes.append(input_ids.numel())
        if input_ids.numel() > 60:
            raise error
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(model.model, "forward", small)
    assert_same(score(model, processor, rows, set_name="a"), wanted)
    assert max(sizes) > 60


def test_a_row_that_memory_does_not_suffice_for_is_named(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows = make_rows(3)
    long = len(processor(rows[2]["question"])["input_ids"])
    forward = model.forward

    def none_long(*args, input_ids, **kwargs):
        if input_ids.shape[1] > long:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return forward(*args, input_ids=input_ids, **kwargs)

    monkeypatch.setattr(model, "forward", none_long)
    with pytest.raises(torch.OutOfMemoryError, match=r"row s0/qa/2: memory does not suffice for its \d+ tokens"):
        score(model, processor, rows, set_name="a")
    monkeypatch.setattr(model, "forward", lambda **_: (_ for _ in ()).throw(RuntimeError("another failure")))
    with pytest.raises(RuntimeError, match="another failure"):
        score(model, processor, rows, set_name="a")


def test_a_budget_grows_by_what_is_free_and_never_after_it_was_halved():
    budget = TokenBudget(None, torch.device("cpu"))
    start = budget.tokens
    budget.fitted(start)
    assert budget.tokens == start, "a CPU gains nothing from more"
    budget.grow(start, taken=10, available=1000)
    assert budget.tokens == 2 * start
    budget.grow(start, taken=10, available=10)
    assert budget.tokens == 2 * start
    budget.halve(start)
    assert budget.tokens == start // 2
    assert TokenBudget(7, torch.device("cpu")).tokens == 7


def test_statistics_of_a_certain_and_an_impossible_token():
    logits = torch.tensor([[0.0, -torch.inf, -torch.inf], [1000.0, 0.0, 0.0], [1.0, 1.0, 1.0]], dtype=torch.bfloat16)
    logp, hit, mean, std = token_statistics(logits, torch.tensor([0, 1, 2]))
    assert logp.dtype == mean.dtype == std.dtype == torch.float32
    np.testing.assert_allclose(logp, [0, -1000, -np.log(3)], rtol=1e-6)
    np.testing.assert_allclose(mean, [0, 0, -np.log(3)], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(std, [0, 0, 0], atol=1e-6)
    assert hit.tolist() == [True, False, False]


def test_chunks_change_nothing(monkeypatch):
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 11), torch.randint(0, 11, (50,))
    whole, given = token_statistics(logits, targets), logits.clone()
    for made, worked_on in ((33, 33), (77, 22), (11, 500), (1, 1)):
        monkeypatch.setitem(_statistics._MADE, "cpu", made)
        monkeypatch.setitem(_statistics._WORKED_ON, "cpu", worked_on)
        for one, other in zip(token_statistics(logits, targets), whole, strict=True):
            torch.testing.assert_close(one, other)
    assert torch.equal(logits, given)


def test_the_first_of_the_most_probable_is_the_hit():
    """As `argmax` has it, of which greedy decoding makes use."""
    logits = torch.tensor([[0.5, 2.0, -torch.inf, 2.0, 2.0], [1.0, 1.0, 1.0, 1.0, 1.0], [3.0, -1.0, 0.0, 2.0, 3.0]])
    hits = [token_statistics(logits, torch.full((3,), token))[1].tolist() for token in (0, 1, 3, 4)]
    wanted = [(logits.argmax(-1) == token).tolist() for token in (0, 1, 3, 4)]
    assert hits == wanted == [[False, True, True], [True, False, False], [False] * 3, [False] * 3]
    assert token_statistics(torch.zeros(1, 1), torch.tensor([0]))[1].tolist() == [True]


def test_bad_input(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    (row,) = make_rows(1)
    with pytest.raises(ValueError, match="set `forget10` has no rows"):
        score(model, processor, [], set_name="forget10")
    with pytest.raises(ValueError, match=r"row s0/qa/0: .*is empty"):
        score(model, processor, [{**row, "answer": " "}], set_name="a")
    for options in (None, [], ["Oslo", "Lima"], [row["answer"]] * 2):
        with pytest.raises(ValueError, match="row s0/qa/0: the options must hold the answer"):
            score(model, processor, [{**row, "task": "mcq", "options": options}], set_name="a")
    with pytest.raises(ValueError, match=r"s0/qa/0.* lacks the column 'perturbed_answers'"):
        score(model, processor, [{name: row[name] for name in row if name != "perturbed_answers"}], set_name="a")
    with pytest.raises(ValueError, match="`token_budget` must be positive, got 0"):
        score(model, processor, [row], set_name="a", token_budget=0)
    monkeypatch.setattr(model.lm_head, "forward", lambda hidden: hidden.new_full((*hidden.shape[:-1], 380), torch.nan))
    with pytest.raises(ValueError, match="NaN or infinite"):
        score(model, processor, [row], set_name="a")


def test_the_context_is_kept_to(models, make_rows, monkeypatch):
    model, processor = models["llama"]
    rows = make_rows(3)
    whole = score(model, processor, rows, set_name="a")
    lengths = [len(tokens) for tokens in whole["tokens"].to_pylist()]
    encoder = Encoder(processor)
    prompts = [encoder.prompt(row["question"]) for row in rows]
    longest = max(len(prompt.ids) for prompt in prompts)
    monkeypatch.setattr(model.config, "max_position_embeddings", longest + 2)
    with pytest.raises(ValueError, match=r"row s0/qa/\d: its question of \d+ tokens .* exceed the model's context"):
        score(model, processor, rows, set_name="a")
    cut = score(model, processor, rows, set_name="a", cut=True)
    for short, full in zip(cut.to_pylist(), whole.to_pylist(), strict=True):
        count = len(short["tokens"])
        prompt = next(prompt for prompt, row in zip(prompts, rows, strict=True) if row["id"] == short["id"])
        assert count == min(len(full["tokens"]), longest + 2 - len(prompt.ids) + 1)
        np.testing.assert_allclose(short["logp"], full["logp"][:count], atol=1e-5)
    assert min(map(len, cut["tokens"].to_pylist())) < min(lengths)
    monkeypatch.setattr(model.config, "max_position_embeddings", 5)
    with pytest.raises(ValueError, match="row s0/qa/0: .*Shorten the question"):
        score(model, processor, rows, set_name="a", cut=True)


def test_what_is_around_a_model_is_not_passed_by(models, make_rows):
    """A guard may act on few prompts, none of which the shortcuts were tried on."""
    model, processor = models["llama"]
    rows = make_rows(9)
    words = [set(processor(row["question"])["input_ids"]) for row in rows]
    mark = min(words[7].difference(*words[:7], words[8]))

    def guard(module, args, kwargs, output):
        flagged = (kwargs["input_ids"] == mark).any(1)
        return {**output, "logits": torch.where(flagged[:, None, None], 0.5 * output.logits, output.logits)}

    plain = score(model, processor, rows, set_name="a")
    hook = model.register_forward_hook(lambda *args: type(args[3])(**guard(*args)), with_kwargs=True)
    try:
        guarded = score(model, processor, rows, set_name="a")
        wanted = one_at_a_time(model, processor, rows[7], rows[7]["answer"])
    finally:
        hook.remove()
    changed = {one["id"] for one, other in zip(guarded.to_pylist(), plain.to_pylist(), strict=True) if one != other}
    assert rows[7]["id"] in changed
    (got,) = (one for one in guarded.to_pylist() if one["id"] == rows[7]["id"] and one["kind"] == "answer")
    np.testing.assert_allclose(got["logp"], wanted["logp"], atol=1e-5)
