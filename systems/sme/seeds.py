"""Some short evidence for development. Idempotent: what is there is left as it is."""

from collections.abc import Sequence
from datetime import UTC, datetime

from bedplate.errors import SettingsError
from bedplate.unit_of_work import UnitOfWork
from systems.sme.adding import add
from systems.sme.intake import of_text
from systems.sme.schemas import EvidenceDescription

FINCHES = """\
Seeing this gradation and diversity of structure in one small, intimately related group of birds,
one might really fancy that from an original paucity of birds in this archipelago, one species had
been taken and modified for different ends.
"""
BANK = """\
It is interesting to contemplate an entangled bank, clothed with many plants of many kinds, with
birds singing on the bushes, with various insects flitting about, and with worms crawling through
the damp earth, and to reflect that these elaborately constructed forms, so different from each
other, and dependent on each other in so complex a manner, have all been produced by laws acting
around us.
"""
CANDLE = """\
There is no better, there is no more open door by which you can enter into the study of natural
philosophy, than by considering the physical phenomena of a candle.
"""
# Title, source, tags, when it was observed or published, text; all in the public domain.
TEXTS = (
    ("Finches", "The Voyage of the Beagle", ["birds"], datetime(1835, 10, 8, tzinfo=UTC), FINCHES),
    (
        "An entangled bank",
        "On the Origin of Species",
        ["birds", "plants"],
        datetime(1859, 11, 24, tzinfo=UTC),
        BANK,
    ),
    (
        "A candle",
        "The Chemical History of a Candle",
        ["chemistry"],
        datetime(1861, 1, 8, tzinfo=UTC),
        CANDLE,
    ),
)


async def seed(uow: UnitOfWork) -> Sequence[str]:
    """Add what is missing. Returns a line for each thing: created or skipped."""
    lines = []
    for title, source, tags, observed_at, text in TEXTS:
        said = EvidenceDescription(source=source, tags=tags, observed_at=observed_at)
        try:
            _, is_new = await add(uow, of_text(title, text, said))
        except SettingsError:
            lines.append(f"skipped evidence {title!r}: without S3 there are no files")
        else:
            lines.append(f"{'created' if is_new else 'skipped'} evidence {title!r}")
    return lines
