"""The Porter stemmer in the variant that ROUGE scores are published with.

Source: M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with the departures of NLTK's default
mode: irregular forms, short words in -ies and -ied, -y after a consonant, and a few more suffixes. The stems are equal
to NLTK's for lower-case letters and digits; a module of its own saves the import of a whole toolkit.
"""

from typing import TypeAlias

_IRREGULAR = {
    "skies": "sky",
    "dying": "die",
    "lying": "lie",
    "tying": "tie",
    "innings": "inning",
    "outings": "outing",
    "cannings": "canning",
} | {word: word for word in ("sky", "news", "inning", "outing", "canning", "howe", "proceed", "exceed", "succeed")}

# Suffixes that go where the stem before them has at least one vowel-consonant turn, and what takes their place.
_STEP_2 = {
    "ational": "ate",
    "tional": "tion",
    "enci": "ence",
    "anci": "ance",
    "izer": "ize",
    "bli": "ble",
    "alli": "al",
    "entli": "ent",
    "eli": "e",
    "ousli": "ous",
    "ization": "ize",
    "ation": "ate",
    "ator": "ate",
    "alism": "al",
    "iveness": "ive",
    "fulness": "ful",
    "ousness": "ous",
    "aliti": "al",
    "iviti": "ive",
    "biliti": "ble",
    "fulli": "ful",
}
_STEP_3 = {"icate": "ic", "ative": "", "alize": "al", "iciti": "ic", "ical": "ic", "ful": "", "ness": ""}
# Suffixes that go where the stem before them has at least two turns.
_STEP_4 = dict.fromkeys(
    (
        *("al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment"),
        *("ent", "ion", "ou", "ism", "ate", "iti", "ous", "ive", "ize"),
    ),
    "",
)

_SHAPES = str.maketrans("abcdefghijklmnopqrstuvwxz0123456789", "vcccvcccvcccccvcccccvcccccccccccccc")


_Suffixes: TypeAlias = dict[str, list[tuple[str, str]]]


def _by_ending(suffixes: dict[str, str]) -> _Suffixes:
    """The suffixes and what replaces them by their last two letters, longest first: most words end in none of them."""
    endings = {suffix[-2:] for suffix in suffixes}
    longest_first = sorted(suffixes.items(), key=lambda item: -len(item[0]))
    return {ending: [item for item in longest_first if item[0].endswith(ending)] for ending in endings}


_ENDS_2, _ENDS_3, _ENDS_4 = _by_ending(_STEP_2), _by_ending(_STEP_3), _by_ending(_STEP_4)


def stem(word: str) -> str:
    """The stem of a lower-case word.

    Args:
        word: Word of the letters a to z and digits.

    Returns:
        Its stem.

    Example:
        >>> [stem(word) for word in ("relational", "hopping", "ponies", "happy", "enjoyed")]
        ['relat', 'hop', 'poni', 'happi', 'enjoy']
    """
    if len(word) <= 2:
        return word
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    word = _terminal_y(_past_and_gerund(_plural(word)))
    word = _replace_suffix(_step_2(word), _ENDS_3, turns=1)
    return _tidy(_step_4(word))


def _shape(word: str) -> str:
    """The word with `c` for each consonant and `v` for each vowel; y is a vowel after a consonant."""
    shape = word.translate(_SHAPES)
    if "y" not in shape:
        return shape
    letters: list[str] = []
    for letter in shape:
        after_consonant = bool(letters) and letters[-1] == "c"
        letters.append(letter if letter != "y" else "v" if after_consonant else "c")
    return "".join(letters)


def _turns(word: str) -> int:
    """Porter's measure m: how often a vowel is followed by a consonant."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Porter's *o, consonant-vowel-consonant at the end and the last no w, x or y; or just vowel-consonant."""
    shape = _shape(word)
    return shape == "vc" or (shape.endswith("cvc") and word[-1] not in "wxy")


def _replace_suffix(word: str, suffixes: _Suffixes, *, turns: int) -> str:
    """Replace the longest suffix that is listed, if the stem before it has that many turns."""
    for suffix, replacement in suffixes.get(word[-2:], ()):
        if word.endswith(suffix):
            start = word[: -len(suffix)]
            return start + replacement if _turns(start) >= turns else word
    return word


def _plural(word: str) -> str:
    if not word.endswith("s"):
        return word
    if word.endswith("ies"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("sses"):
        return word[:-2]
    return word if word.endswith("ss") else word[:-1]


def _past_and_gerund(word: str) -> str:
    if not word.endswith(("ed", "ing")):
        return word
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _turns(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        start = word.removesuffix(suffix)
        if start != word and "v" in _shape(start):
            return _mended(start)
    return word


def _mended(start: str) -> str:
    """A stem that lost -ed or -ing, with its e restored (siz-ed) or its double consonant undone (hopp-ing)."""
    if start.endswith(("at", "bl", "iz")):
        return start + "e"
    if len(start) >= 2 and start[-1] == start[-2] and _shape(start)[-1] == "c":
        return start if start[-1] in "lsz" else start[:-1]
    return start + "e" if _turns(start) == 1 and _ends_short(start) else start


def _terminal_y(word: str) -> str:
    turns_to_i = word.endswith("y") and len(word) > 2 and _shape(word[:-1])[-1] == "c"
    return word[:-1] + "i" if turns_to_i else word


def _step_2(word: str) -> str:
    if word.endswith("alli") and _turns(word[:-4]) > 0:
        return _step_2(word[:-2])
    if word.endswith("logi"):
        return word[:-1] if _turns(word[:-3]) > 0 else word
    return _replace_suffix(word, _ENDS_2, turns=1)


def _step_4(word: str) -> str:
    if word.endswith("ion") and word[-4:-3] not in ("s", "t"):
        return word
    return _replace_suffix(word, _ENDS_4, turns=2)


def _tidy(word: str) -> str:
    if word.endswith("e"):
        start = word[:-1]
        turns = _turns(start)
        if turns > 1 or (turns == 1 and not _ends_short(start)):
            word = start
    return word[:-1] if word.endswith("ll") and _turns(word[:-1]) > 1 else word
