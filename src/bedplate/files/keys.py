"""Keys of objects and names of files: the key is ours, the name is the user's, and never they meet.

A key is `<system>/<year>/<month>/<random>`, below `expiring/` for a file with an end, so that a
lifecycle rule can be the backstop for those alone. Nothing a user typed is in it, it is never
used again, and its random part is no id that is shown elsewhere.
"""

import re
import unicodedata
from datetime import datetime
from urllib.parse import quote
from uuid import uuid4

EXPIRING = "expiring/"
LONGEST_NAME = 255

_KEY = re.compile(r"(?:expiring/)?[a-z0-9_-]+/\d{4}/\d{2}/[0-9a-f]{32}")
_NOT_IN_PREFIX = re.compile(r"[^a-z0-9_-]+")
# What headers and file systems take for something else: controls, separators, quotes and the
# marks that turn the direction of text, so that "gpj.exe" is not read as "exe.jpg".
_UNSAFE = re.compile(r"[\x00-\x1f\x7f-\x9f/\\:*?\"<>|\u200e\u200f\u202a-\u202e\u2066-\u2069]+")
_TOKEN = re.compile(r"[^A-Za-z0-9._ -]+")
_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,126}/[a-z0-9][a-z0-9!#$&^_.+-]{0,126}")
ANY_TYPE = "application/octet-stream"


def new_key(system: str, now: datetime, *, is_expiring: bool = False) -> str:
    """A key that was never used. `now` only sorts keys into folders for a person's eye."""
    prefix = EXPIRING if is_expiring else ""
    return f"{prefix}{system}/{now:%Y/%m}/{uuid4().hex}"


def prefix_for(system: str) -> str:
    """A system's name as keys have it."""
    return _NOT_IN_PREFIX.sub("-", system.lower())


def prefixes(system: str) -> tuple[str, str]:
    """Below these, and nowhere else, are a system's objects."""
    return f"{system}/", f"{EXPIRING}{system}/"


def is_key(text: str) -> bool:
    """Whether it has the shape of a key of ours: all else in a bucket is not ours to judge."""
    return _KEY.fullmatch(text) is not None


def safe_name(name: str | None) -> str:
    """A user's file name as it may be stored and shown: one line, no path, 255 characters."""
    text = unicodedata.normalize("NFC", name or "")
    # Lone surrogates cannot be stored as UTF-8.
    text = text.encode("utf-8", "replace").decode("utf-8")
    text = _UNSAFE.sub("_", text).strip(" .")
    if len(text) > LONGEST_NAME:
        stem, dot, suffix = text.rpartition(".")
        short = dot and len(suffix) <= 16
        text = f"{stem[: LONGEST_NAME - 1 - len(suffix)]}.{suffix}" if short else text
    return text[:LONGEST_NAME] or "file"


def safe_type(content_type: str | None) -> str:
    """A content type without parameters; what is none becomes plain bytes."""
    text = (content_type or "").partition(";")[0].strip().lower()
    return text if _TYPE.fullmatch(text) else ANY_TYPE


def attachment(name: str) -> str:
    """The header Content-Disposition that saves the file under its name (RFC 6266, RFC 8187)."""
    plain = _TOKEN.sub("_", unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode())
    quoted = quote(name, safe="!#$&+-.^_`|~")
    return f"attachment; filename=\"{plain.strip() or 'file'}\"; filename*=UTF-8''{quoted}"
