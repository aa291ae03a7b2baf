"""The protocol's parts that can be checked without a server."""

import base64
import hashlib
import hmac

from bedplate.servers import wire
from bedplate.servers.wire import ScramClient, scram_verifier


def test_the_proof_is_that_of_the_standard() -> None:
    """The example of RFC 7677, section 3."""
    client = ScramClient("pencil")
    client._bare = "n=user,r=rOprNGfwEbeRWgbNEkqO"
    challenge = (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert client.final(challenge) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
        b"p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )


def test_a_verifier_does_not_hold_the_password() -> None:
    """It is what the server stores, and may stand in its log."""
    verifier = scram_verifier("pencil")
    assert "pencil" not in verifier
    head, keys = verifier.split("$")[1:]
    iterations, salt = head.split(":")
    salted = hashlib.pbkdf2_hmac("sha256", b"pencil", base64.b64decode(salt), int(iterations))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    assert keys.split(":")[0] == base64.b64encode(hashlib.sha256(client_key).digest()).decode()
    assert scram_verifier("pencil") != verifier


def test_an_error_is_read_with_its_code() -> None:
    """The code tells "starting up" from "wrong password"."""
    refusal = wire._read_refusal(b"SFATAL\0C57P03\0Mthe database system is starting up\0\0")
    assert refusal.sqlstate == "57P03"
    assert str(refusal) == "the database system is starting up (57P03)"


def test_a_row_may_hold_nulls() -> None:
    """NULL and the empty text are two values."""
    body = b"\0\3" + b"\0\0\0\1x" + b"\xff\xff\xff\xff" + b"\0\0\0\0"
    assert wire._read_row(body) == ("x", None, "")
