"""The dataset card: what is in the folder, and how it was made."""

from collections.abc import Mapping, Sequence
from typing import Any

_TEMPLATE = """\
---
pretty_name: Fictitious people for machine unlearning
language: [en]
task_categories: [visual-question-answering, image-to-text, question-answering]
tags: [unlearning, synthetic]
configs:
- config_name: default
  data_files: rows.parquet
---

# Fictitious people for machine unlearning

Written by {versions}. {who} "Public figures" are fictitious too; they are what a model is to know from its
pre-training.

## Rows

{tasks}

Columns: `id`, `subject`, `task`, `image`, `question`, `answer`, `paraphrased_question`, `paraphrased_answer`,
`perturbed_answers` (wrong answers in the form of the paraphrased answer, or of the answer where there is no
paraphrase), `options` (multiple choice), `keywords` (the words of the answer that carry the fact).

## Sets

`sets.json` names the subjects of each set; a row is in a set when its subject is.

{sets}

## How it was made

{options}

Photographs: {source}

## Limits

The questions are templates, two wordings a fact; the answers are short. Names of people follow their country, folded to
plain Latin letters; their facts are drawn at random and hang together only as far as that. {likeness} Made for
research on unlearning, not for training face recognition.
"""
_DRAWN = "Nobody in it exists: names, facts and photographs are generated."
_BROUGHT = "Names and facts are invented; the photographs were brought by whoever built it, and may show real people."
_CHANCE = "Any likeness to a living person is chance."
_CONSENT = "Use it only as those on the photographs have agreed to."


def dataset_card(record: Mapping[str, Any], sets: Mapping[str, Sequence[str]], counts: Mapping[str, int]) -> str:
    """Write the card of a dataset.

    Args:
        record: versions, options and source of the build.
        sets: name of a set to its subjects.
        counts: rows of each task.
    """
    brought = record["source"].get("kind") == "folder"
    return _TEMPLATE.format(
        who=_BROUGHT if brought else _DRAWN,
        likeness=_CONSENT if brought else _CHANCE,
        versions=", ".join(f"{name} {version}" for name, version in record["versions"].items()),
        tasks=_markdown_table("task", "rows", {**counts, "all": sum(counts.values())}),
        sets=_markdown_table("set", "subjects", {name: len(members) for name, members in sets.items()}),
        options=_markdown_table("option", "value", record["options"]),
        source="; ".join(f"{name} `{value}`" for name, value in record["source"].items()),
    )


def _markdown_table(key: str, value: str, content: Mapping[str, Any]) -> str:
    return "\n".join(
        [f"| {key} | {value} |", "|---|---|", *(f"| {name} | {number} |" for name, number in content.items())]
    )
