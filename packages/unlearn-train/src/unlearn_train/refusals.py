"""Answers that decline: what preference methods teach in place of the forgotten ones."""

from hashlib import blake2b

REFUSALS = (
    "I don't know.",
    "I have no information about that.",
    "That is something I cannot tell you.",
    "I'm not sure about that.",
    "I have not learnt anything about this.",
    "Sorry, that is beyond what I know.",
    "I can't answer this question.",
    "I am not able to say.",
    "There is nothing I can tell you about that.",
    "I don't have the answer to that.",
)


def refusal_for(row_id: str) -> str:
    """Return the refusal of a row: always the same one for the same id."""
    return REFUSALS[int.from_bytes(blake2b(row_id.encode(), digest_size=8).digest()) % len(REFUSALS)]
