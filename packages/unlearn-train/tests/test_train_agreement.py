"""What is trained on is what is scored: unlearn-metrics encodes on its own, and must come to the same tokens."""

import pytest
from unlearn_train.collation import Collator, EncodedRows
from unlearn_train.encoding import IGNORED, tokenizer_of
from unlearn_train.reference import reference_logps

scoring = pytest.importorskip("unlearn_metrics.scoring", reason="needs the extra `eval`")

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def compare(model, processor, rows):
    evidence = scoring.collect_evidence(model, processor, {"forget": rows}, max_new_tokens=1, progress=False)
    scored = {row["id"]: row for row in evidence.scores.to_pylist() if row["kind"] == "answer"}
    encoded = EncodedRows(processor, rows)
    logps = reference_logps(model, encoded, Collator(processor), batch_size=3)
    for n, row in enumerate(rows):
        labels = encoded[n].labels
        assert scored[row["id"]]["tokens"] == labels[labels != IGNORED].tolist()
        assert sum(scored[row["id"]]["logp"]) == pytest.approx(float(logps[n]), abs=1e-3)


def test_answers_are_scored_as_they_are_trained(fresh, sides):
    compare(*fresh(), [*sides[0], *sides[1]])


@pytest.mark.parametrize("kind", ["llama"])
@pytest.mark.parametrize("special", [["<|im_start|>", "<|im_end|>"], []], ids=["end token", "no end token"])
def test_they_are_with_other_templates(fresh, sides, special):
    import copy

    model, tokenizer = fresh()
    tokenizer = copy.deepcopy(tokenizer)
    tokenizer.chat_template = CHATML
    tokenizer.add_tokens(special, special_tokens=True)
    model.resize_token_embeddings(len(tokenizer_of(tokenizer)))
    compare(model, tokenizer, sides[0])
