"""Texts of a request that can be stored: what PostgreSQL refuses is a 422 here, and no 500 there.

`Text` keeps its lines; `Line` is a name or a term: one line, trimmed, in Unicode's form NFC.
"""

import unicodedata
from typing import Annotated

from pydantic import AfterValidator


def storable(text: str) -> str:
    """The text itself. Raises `ValueError` for the character NUL and for half a character."""
    if "\0" in text:
        raise ValueError("must not have the character NUL")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must not have half of a surrogate pair") from None
    return text


def one_line(text: str) -> str:
    """The text with a single space for each run of blanks. Raises `ValueError` for controls."""
    line = " ".join(unicodedata.normalize("NFC", storable(text)).split())
    if any(unicodedata.category(character) == "Cc" for character in line):
        raise ValueError("must not have control characters")
    return line


Text = Annotated[str, AfterValidator(storable)]
Line = Annotated[str, AfterValidator(one_line)]
