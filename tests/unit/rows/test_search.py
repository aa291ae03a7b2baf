"""What is found, as pieces and as HTML."""

import uuid

from bedplate.rows.locks import lock_key
from bedplate.rows.search import Highlight, Hit


def test_html_of_the_text_stays_text() -> None:
    """The text is a stranger's: only our own marks may be markup."""
    hit = Hit(
        uuid.UUID(int=1),
        0,
        0.5,
        (Highlight("<script>1 & 2</script> ", False), Highlight("<b>dog", True)),
    )
    assert hit.html() == ("&lt;script&gt;1 &amp; 2&lt;/script&gt; <mark>&lt;b&gt;dog</mark>")


def test_a_locks_key_is_the_same_in_every_process() -> None:
    """Two processes that lock one name must meet; Python's hash() differs in each."""
    assert lock_key("documents") == int.from_bytes(bytes.fromhex("9b16b44d"), "big", signed=True)
    assert lock_key("documents") != lock_key("document")
