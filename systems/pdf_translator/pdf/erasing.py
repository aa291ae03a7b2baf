"""Takes text out of a page, and leaves all else of it as it is, byte for byte.

Works on the page's operators, by pikepdf: what pdfium would write anew (shadings, inline images)
stays untouched. An operator is named by its number in the order in which a reader meets it, forms
included, which is how `reading.py` numbers what it read; both must count the same.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import pikepdf

CONTINUING = frozenset({"Tj", "TJ"})
SHOWING = CONTINUING | {"'", '"'}
# After these the next text stands where they say, and not where the text before it ended.
PLACING = frozenset({"BT", "Td", "TD", "Tm", "T*"})
DEEPEST_FORM = 16

Instruction = Any


@dataclass(slots=True)
class PageOperators:
    """The operators of a page that show text: how many, and which hang on the one before."""

    count: int
    # Of each, the number of the first operator of its row: placed once, then shown one by one.
    rows: list[int]


@dataclass(slots=True)
class _State:
    count: int = 0
    rows: list[int] = field(default_factory=list)
    row: int = 0

    def count_one(self, *, begins_row: bool) -> None:
        if begins_row:
            self.row = self.count
        self.rows.append(self.row)
        self.count += 1


def operators_of(page: pikepdf.Page) -> PageOperators:
    """Count the page's operators as pdfium does."""
    state = _State()
    for _ in _walk(page.obj, page.resources, state, 0):
        pass
    return PageOperators(state.count, state.rows)


def rows_with(operators: PageOperators, shows: Iterable[int]) -> set[int]:
    """These, and those that stand where they end: without them they would move."""
    first: dict[int, int] = {}
    for number in shows:
        row = operators.rows[number]
        first[row] = min(first.get(row, number), number)
    return {
        number for number, row in enumerate(operators.rows) if row in first and number >= first[row]
    }


def erase(pdf: pikepdf.Pdf, page: pikepdf.Page, shows: set[int]) -> None:
    """Take these operators out of the page, also where they stand in a form."""
    if not shows:
        return
    state = _State()
    resources = _own(page)
    written = _rewritten(pdf, page.obj, resources, shows, state, 0)
    page.obj["/Contents"] = pdf.make_stream(written)


def _walk(
    stream: pikepdf.Object, resources: pikepdf.Object, state: _State, depth: int
) -> Iterator[Instruction]:
    """The stream's instructions; counts what they show, and what their forms show."""
    # Text before the first font shows nothing; q and Q save and restore it.
    has_font = [False]
    for instruction in pikepdf.parse_content_stream(stream):
        name = str(instruction.operator)
        if name in PLACING:
            state.row = state.count
        elif name == "Do":
            _walk_form(instruction, resources, state, depth)
        elif name in SHOWING and has_font[-1] and _shows_something(instruction):
            state.count_one(begins_row=name not in CONTINUING)
        else:
            _keep_font(name, has_font)
        yield instruction


def _walk_form(
    instruction: Instruction, resources: pikepdf.Object, state: _State, depth: int
) -> None:
    form = _form(instruction, resources)
    if form is None or depth >= DEEPEST_FORM:
        return
    for _ in _walk(form, _resources_of(form, resources), state, depth + 1):
        pass
    state.row = state.count


def _keep_font(name: str, has_font: list[bool]) -> None:
    if name == "q":
        has_font.append(has_font[-1])
    elif name == "Q" and len(has_font) > 1:
        has_font.pop()
    elif name == "Tf":
        has_font[-1] = True


def _rewritten(
    pdf: pikepdf.Pdf,
    stream: pikepdf.Object,
    resources: pikepdf.Object,
    shows: set[int],
    state: _State,
    depth: int,
) -> bytes:
    """The stream without these operators; forms that lose some are copied, others may use them."""
    kept: list[Instruction] = []
    before = state.count
    for instruction in _walk(stream, resources, state, depth):
        numbers = range(before, state.count)
        before = state.count
        if not any(number in shows for number in numbers):
            kept.append(instruction)
        elif (form := _form(instruction, resources)) is not None:
            inner = _State(count=numbers.start)
            kept.append(_copied_form(pdf, form, resources, shows, inner, depth))
        else:
            kept.extend(_without_text(instruction))
    return pikepdf.unparse_content_stream(kept)


def _copied_form(
    pdf: pikepdf.Pdf,
    form: pikepdf.Object,
    resources: pikepdf.Object,
    shows: set[int],
    state: _State,
    depth: int,
) -> Instruction:
    inner = _copied(_resources_of(form, resources))
    _own_forms(inner)
    copy = pdf.make_stream(_rewritten(pdf, form, inner, shows, state, depth + 1))
    for key in form.keys():  # noqa: SIM118 - a pikepdf stream is no mapping
        if key not in {"/Length", "/Filter", "/DecodeParms"}:
            copy[key] = form[key]
    copy["/Resources"] = inner
    name = f"/Erased{state.count}x{depth}"
    resources["/XObject"][name] = pdf.make_indirect(copy)
    return pikepdf.ContentStreamInstruction([pikepdf.Name(name)], pikepdf.Operator("Do"))


def _without_text(instruction: Instruction) -> list[Instruction]:
    """What remains of an operator when it shows nothing: the new line that it begins."""
    name = str(instruction.operator)
    next_line = pikepdf.ContentStreamInstruction([], pikepdf.Operator("T*"))
    if name == "'":
        return [next_line]
    if name == '"':
        word, character = (Decimal(str(value)) for value in instruction.operands[:2])
        return [
            pikepdf.ContentStreamInstruction([word], pikepdf.Operator("Tw")),
            pikepdf.ContentStreamInstruction([character], pikepdf.Operator("Tc")),
            next_line,
        ]
    return []


def _shows_something(instruction: Instruction) -> bool:
    """pdfium makes no object of an empty string."""
    if not instruction.operands:
        return False
    shown = instruction.operands[-1]
    if isinstance(shown, pikepdf.Array):
        return any(isinstance(part, pikepdf.String) and len(bytes(part)) for part in shown)
    return isinstance(shown, pikepdf.String) and len(bytes(shown)) > 0


def _form(instruction: Instruction, resources: pikepdf.Object) -> pikepdf.Object | None:
    """The form that a Do draws; None for an image, and for any other operator."""
    forms = resources.get("/XObject") if isinstance(resources, pikepdf.Dictionary) else None
    if forms is None or str(instruction.operator) != "Do" or not instruction.operands:
        return None
    found = forms.get(str(instruction.operands[0]))
    is_form = isinstance(found, pikepdf.Stream) and found.get("/Subtype") == "/Form"
    return found if is_form else None


def _resources_of(form: pikepdf.Object, parent: pikepdf.Object) -> pikepdf.Object:
    found = form.get("/Resources")
    return found if isinstance(found, pikepdf.Dictionary) else parent


def _own(page: pikepdf.Page) -> pikepdf.Dictionary:
    """Give the page resources of its own: pages may share theirs."""
    resources = _copied(page.resources)
    _own_forms(resources)
    page.obj["/Resources"] = resources
    return resources


def _own_forms(resources: pikepdf.Dictionary) -> None:
    forms = resources.get("/XObject")
    resources["/XObject"] = pikepdf.Dictionary() if forms is None else _copied(forms)


def _copied(dictionary: pikepdf.Object) -> pikepdf.Dictionary:
    """A dictionary of its own with the same values; the page's may be shared."""
    return pikepdf.Dictionary({key: dictionary[key] for key in dictionary.keys()})  # noqa: SIM118 - no mapping
