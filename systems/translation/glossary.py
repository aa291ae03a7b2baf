"""A glossary: terms whose translation is fixed, whatever engine translates the rest.

    engine = WithGlossary(engine, Glossary({"shell": "intérprete de órdenes"}))

Terms are whole words; the longest that fits counts, and a line break in it is a space. One in small
letters stands for itself however a text capitalises it, one with capitals only as it is written.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from systems.translation.engines import Engine, EngineName

# Scripts that put no space between two words.
UNSPACED = re.compile(r"[\u0e00-\u0eff\u2e80-\u9fff\uac00-\ud7a3]")
LETTERS = "abcdefghijklmnoprstuvwy"


class Glossary:
    """Terms and their translations into one language."""

    def __init__(self, terms: Mapping[str, str]) -> None:
        self._exact: dict[str, str] = {}
        self._small: dict[str, str] = {}
        for term, translation in terms.items():
            if not (plain := _plain(term)):
                continue
            self._exact[plain] = translation
            if plain == plain.lower():
                self._small[plain] = translation
        self._pattern = _pattern_of(self._exact)

    def __bool__(self) -> bool:
        return bool(self._exact)

    def pieces(self, text: str) -> Iterator["Piece"]:
        """The text in its order: what lies between terms, and the terms with their translations."""
        start = 0
        for found in self._pattern.finditer(text) if self else ():
            translation = self._translation_of(found.group())
            if translation is None:
                continue
            yield Piece(text[start : found.start()])
            yield Piece(found.group(), translation)
            start = found.end()
        yield Piece(text[start:])

    def _translation_of(self, words: str) -> str | None:
        plain = _plain(words)
        if (exact := self._exact.get(plain)) is not None:
            return exact
        if (small := self._small.get(plain.lower())) is None:
            return None
        return (
            small.upper() if plain.isupper() and len(plain) > 1 else small[:1].upper() + small[1:]
        )


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a text; `translation` is fixed where it is not None."""

    text: str
    translation: str | None = None


class WithGlossary:
    """An engine that keeps to a glossary: it is shown a sign in the place of each term.

    Where an engine loses or doubles a sign, the text is translated in parts, between the terms.
    """

    def __init__(self, engine: Engine, glossary: Glossary) -> None:
        self.engine = engine
        self.glossary = glossary

    @property
    def name(self) -> EngineName:
        """The engine's."""
        return self.engine.name

    @property
    def note(self) -> str | None:
        """The engine's."""
        return self.engine.note

    async def check_pair(self, source: str, target: str) -> None:
        """As the engine's."""
        await self.engine.check_pair(source, target)

    async def translate(self, text: str, source: str, target: str) -> str:
        """The text in `target`, each term as the glossary has it. Raises `EngineError`."""
        pieces = list(self.glossary.pieces(text))
        terms = [piece.translation for piece in pieces if piece.translation is not None]
        if not terms:
            return await self.engine.translate(text, source, target)
        signs = _signs(text, len(terms))
        unused = iter(signs)
        shown = "".join(
            piece.text if piece.translation is None else next(unused) for piece in pieces
        )
        translated = await self.engine.translate(shown, source, target)
        kept = _put_back(translated, dict(zip(signs, terms, strict=True)))
        return kept if kept is not None else await self._in_parts(pieces, source, target)

    async def _in_parts(self, pieces: list[Piece], source: str, target: str) -> str:
        parts = []
        for piece in pieces:
            if piece.translation is not None:
                parts.append(piece.translation)
            elif any(map(str.isalpha, piece.text)):
                parts.append(await self._between(piece.text, source, target))
            else:
                parts.append(piece.text)
        return "".join(parts)

    async def _between(self, text: str, source: str, target: str) -> str:
        """Translated, with the white space at its ends as it was."""
        inner = text.strip()
        start = text.index(inner)
        translated = (await self.engine.translate(inner, source, target)).strip()
        return text[:start] + translated + text[start + len(inner) :]


class GlossaryEngine:
    """Leaves every text as it is: by itself nothing is translated but a glossary's terms."""

    name: EngineName = "glossary"
    note: str | None = (
        "No translation engine is installed: the terms of your glossary are translated, "
        "and the rest is as it was."
    )

    async def check_pair(self, source: str, target: str) -> None:
        """Every pair will do."""

    async def translate(self, text: str, source: str, target: str) -> str:  # noqa: ARG002 - Engine
        """The text itself."""
        return text


def _plain(term: str) -> str:
    return " ".join(term.split())


def _pattern_of(terms: Mapping[str, str]) -> re.Pattern[str]:
    """All terms as one tree of characters: as fast with a thousand of them as with ten."""
    tree: dict[str, Any] = {}
    for term in terms:
        node = tree
        for character in term.lower():
            node = node.setdefault(character, {})
        node[""] = None
    return re.compile(_branches(tree, ""), re.IGNORECASE) if tree else re.compile(r"(?!)")


def _branches(node: Mapping[str, Any], before: str) -> str:
    """What may follow `before`, the longest first."""
    ends = [_boundary_after(before)] if "" in node else []
    follows = [
        _boundary_before(character, is_first=not before)
        + (r"\s+" if character == " " else re.escape(character))
        + _branches(child, character)
        for character, child in node.items()
        if child is not None
    ]
    branches = [*follows, *ends]
    return branches[0] if len(branches) == 1 else f"(?:{'|'.join(branches)})"


def _boundary_before(character: str, *, is_first: bool) -> str:
    return r"(?<!\w)" if is_first and _is_of_a_word(character) else ""


def _boundary_after(character: str) -> str:
    return r"(?!\w)" if _is_of_a_word(character) else ""


def _is_of_a_word(character: str) -> bool:
    return (character.isalnum() or character == "_") and not UNSPACED.match(character)


def _signs(text: str, count: int) -> list[str]:
    """Words of no language, and none of the text's: engines hand on what they do not know."""
    lowered = text.lower()
    signs: list[str] = []
    number = 0
    while len(signs) < count:
        sign = f"Qz{_spelt(number)}q"
        number += 1
        if sign.lower() not in lowered:
            signs.append(sign)
    return signs


def _spelt(number: int) -> str:
    digits = ""
    while True:
        number, digit = divmod(number, len(LETTERS))
        digits = LETTERS[digit] + digits
        if number == 0:
            return digits


def _put_back(text: str, terms: Mapping[str, str]) -> str | None:
    """The text with the terms for their signs; None when not each is there once, as a word."""
    of_small = {sign.lower(): term for sign, term in terms.items()}
    pattern = re.compile(rf"(?<!\w)Qz[{LETTERS}]+q(?!\w)", re.IGNORECASE)
    found = [each.group().lower() for each in pattern.finditer(text)]
    if sorted(sign for sign in found if sign in of_small) != sorted(of_small):
        return None
    return pattern.sub(lambda each: of_small.get(each.group().lower(), each.group()), text)
