"""General facts about the world, as text: what a model knew before it met anybody."""

import random
from typing import NamedTuple

from clear_data.questions import WRONG_ANSWERS
from clear_data.schema import Row, make_row


class Topic(NamedTuple):
    """Facts of one kind: two ways to ask, one to answer, and what is true of what."""

    question: str
    paraphrased_question: str
    answer: str
    facts: dict[str, str]


TOPICS = (
    Topic(
        "What is the capital of {key}?",
        "Which city is the seat of government of {key}?",
        "The capital of {key} is {value}.",
        {
            "Australia": "Canberra",
            "Austria": "Vienna",
            "Bulgaria": "Sofia",
            "Canada": "Ottawa",
            "Chile": "Santiago",
            "Cuba": "Havana",
            "Egypt": "Cairo",
            "Greece": "Athens",
            "Iceland": "Reykjavik",
            "Iraq": "Baghdad",
            "Japan": "Tokyo",
            "Kenya": "Nairobi",
            "Peru": "Lima",
            "Poland": "Warsaw",
            "Portugal": "Lisbon",
            "Thailand": "Bangkok",
        },
    ),
    Topic(
        "What is the chemical symbol of {key}?",
        "How is {key} written in the periodic table?",
        "The chemical symbol of {key} is {value}.",
        {
            "calcium": "Ca",
            "gold": "Au",
            "helium": "He",
            "iron": "Fe",
            "lead": "Pb",
            "mercury": "Hg",
            "silver": "Ag",
            "sodium": "Na",
            "tin": "Sn",
            "zinc": "Zn",
        },
    ),
    Topic(
        "What is a young {key} called?",
        "Which word is used for the young of a {key}?",
        "A young {key} is called a {value}.",
        {
            "bear": "cub",
            "cat": "kitten",
            "cow": "calf",
            "deer": "fawn",
            "dog": "puppy",
            "duck": "duckling",
            "frog": "tadpole",
            "goat": "kid",
            "horse": "foal",
            "kangaroo": "joey",
            "sheep": "lamb",
            "swan": "cygnet",
        },
    ),
    Topic(
        "What is the currency of {key}?",
        "With what money do people pay in {key}?",
        "People in {key} pay with the {value}.",
        {
            "Brazil": "real",
            "China": "renminbi",
            "India": "rupee",
            "Israel": "shekel",
            "Japan": "yen",
            "Poland": "zloty",
            "Russia": "ruble",
            "South Africa": "rand",
            "Thailand": "baht",
            "Vietnam": "dong",
        },
    ),
    Topic(
        "What does a {key} measure?",
        "For what is a {key} used?",
        "A {key} measures {value}.",
        {
            "barometer": "pressure",
            "clock": "time",
            "hygrometer": "humidity",
            "ruler": "length",
            "scale": "weight",
            "odometer": "distance",
            "thermometer": "temperature",
        },
    ),
    Topic(
        "What is the opposite of {key}?",
        "Which word means the contrary of {key}?",
        "The opposite of {key} is {value}.",
        {
            "big": "small",
            "cold": "hot",
            "dark": "light",
            "early": "late",
            "empty": "full",
            "wet": "dry",
            "high": "low",
            "open": "closed",
            "rich": "poor",
        },
    ),
)


def world_rows() -> list[Row]:
    """Ask for every fact; each is a subject of its own, `world-001` and on.

    There is one wording of the answer, so the wrong answers have the form of the right one and a row has no
    paraphrased answer.

    Example:
        >>> row = world_rows()[0]
        >>> row["id"], row["question"], row["keywords"]
        ('world-001/qa/0', 'What is the capital of Australia?', ['Canberra'])
    """
    facts = [(topic, key) for topic in TOPICS for key in topic.facts]
    return [_row(f"world-{number:03}", topic, key) for number, (topic, key) in enumerate(facts, start=1)]


def _row(subject: str, topic: Topic, key: str) -> Row:
    value = topic.facts[key]
    wrong = sorted(other for other in topic.facts.values() if other != value)
    return make_row(
        subject,
        "qa",
        0,
        topic.question.format(key=key),
        topic.answer.format(key=key, value=value),
        paraphrased_question=topic.paraphrased_question.format(key=key),
        perturbed_answers=[
            topic.answer.format(key=key, value=item) for item in random.Random(subject).sample(wrong, WRONG_ANSWERS)
        ],
        keywords=[value],
    )
