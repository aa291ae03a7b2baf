"""A long text cut into passages that can be indexed, and the language that each is read in.

PostgreSQL refuses a tsvector of 1 MB and keeps no position beyond 16,383, so that a whole book
can be neither stored nor ranked as one. Passages are cut where a reader would pause.
"""

import re
from collections.abc import Iterator

# At most 4,096 words: positions, and so phrases and ranks, are exact throughout.
PASSAGE_BYTES = 8192

# Where a passage may end, best first: after a blank line, a sentence, a word.
_PAUSES = (
    re.compile(r"\r?\n[ \t]*\r?\n\s*"),
    re.compile(r"[.!?…][\"'”’»)\]]*\s+|[。！？]\s*"),
    re.compile(r"\s+"),
)

# ISO 639-1 → the configurations that PostgreSQL 16 and later ship (Snowball stemmers). Estonian
# came with 18 and is left to `simple`, so that one migration does for both.
_CONFIGURATIONS = {
    "ar": "arabic",
    "ca": "catalan",
    "da": "danish",
    "de": "german",
    "el": "greek",
    "en": "english",
    "es": "spanish",
    "eu": "basque",
    "fi": "finnish",
    "fr": "french",
    "ga": "irish",
    "hi": "hindi",
    "hu": "hungarian",
    "hy": "armenian",
    "id": "indonesian",
    "it": "italian",
    "lt": "lithuanian",
    "nb": "norwegian",
    "ne": "nepali",
    "nl": "dutch",
    "nn": "norwegian",
    "no": "norwegian",
    "pt": "portuguese",
    "ro": "romanian",
    "ru": "russian",
    "sr": "serbian",
    "sv": "swedish",
    "ta": "tamil",
    "tr": "turkish",
    "yi": "yiddish",
}
SIMPLE = "simple"
CONFIGURATIONS = frozenset({*_CONFIGURATIONS.values(), SIMPLE})


def regconfig_for(language: str | None) -> str:
    """The text search configuration for a language tag (`en`, `pt-BR`); `simple` for others."""
    primary = re.split(r"[-_]", language or "", maxsplit=1)[0].lower()
    return _CONFIGURATIONS.get(primary, SIMPLE)


def cut_passages(text: str, limit_bytes: int = PASSAGE_BYTES) -> Iterator[str]:
    """The text in passages of at most `limit_bytes` bytes of UTF-8 each; together they are it.

    Cut after a blank line; where a paragraph is too long, after a sentence, a word, or anywhere
    between two characters. `limit_bytes` is at least 4, the longest character.
    """
    if limit_bytes < 4:
        raise ValueError(f"limit_bytes is {limit_bytes}, and a character may need 4")
    start = 0
    while start < len(text):
        window = _window(text, start, limit_bytes)
        if start + len(window) < len(text):
            window = window[: _last_pause(window)]
        yield window
        start += len(window)


def _window(text: str, start: int, limit_bytes: int) -> str:
    raw = text[start : start + limit_bytes].encode()
    # "ignore" drops the character that the limit cuts in two, and there is no other fault in it.
    return raw[:limit_bytes].decode(errors="ignore")


def _last_pause(window: str) -> int:
    for pause in _PAUSES:
        ends = [match.end() for match in pause.finditer(window)]
        if ends:
            return ends[-1]
    return len(window)
