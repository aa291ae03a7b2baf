"""A certificate that signs itself, for servers of ours that prove to each other who they are.

The standard library makes none, and a library that does is not worth 10 MB for one: this is
Ed25519 as in RFC 8032 section 5.1, and as much DER as X.509 (RFC 5280, RFC 8410) needs. 30 ms,
once per project. Not constant in time: only for keys that are made and used on this machine.
"""

import base64
import hashlib
import secrets
from dataclasses import dataclass, field

PRIME = 2**255 - 19
ORDER = 2**252 + 27742317777372353535851937790883648493
CURVE_D = -121665 * pow(121666, PRIME - 2, PRIME) % PRIME
SEQUENCE, SET, INTEGER, BIT_STRING, OCTETS, OBJECT_ID = 0x30, 0x31, 0x02, 0x03, 0x04, 0x06
BOOLEAN, TEXT, SHORT_TIME, LONG_TIME, VERSION, EXTENSIONS = 0x01, 0x0C, 0x17, 0x18, 0xA0, 0xA3
TRUE = b"\xff"
# Object identifiers, encoded: Ed25519, common name, basic constraints.
ED25519, COMMON_NAME, CONSTRAINTS = b"\x2b\x65\x70", b"\x55\x04\x03", b"\x55\x1d\x13"
# Nothing but its loss ends the certificate of a development stack.
NOT_BEFORE, NOT_AFTER = b"200101000000Z", b"99991231235959Z"
Point = tuple[int, int, int, int]


@dataclass(frozen=True)
class Certificate:
    """A certificate and its private key, as PEM."""

    certificate: str
    key: str = field(repr=False)


def make_certificate(name: str) -> Certificate:
    """A new key and a certificate for it that is its own authority."""
    seed = secrets.token_bytes(32)
    algorithm = _der(SEQUENCE, _der(OBJECT_ID, ED25519))
    subject = _der(
        SEQUENCE,
        _der(SET, _der(SEQUENCE, _der(OBJECT_ID, COMMON_NAME), _der(TEXT, name.encode()))),
    )
    is_authority = _der(OCTETS, _der(SEQUENCE, _der(BOOLEAN, TRUE)))
    content = _der(
        SEQUENCE,
        _der(VERSION, _der(INTEGER, b"\x02")),
        # Positive and not padded: its first byte is neither above 127 nor 0.
        _der(INTEGER, b"\x01" + secrets.token_bytes(15)),
        algorithm,
        subject,
        _der(SEQUENCE, _der(SHORT_TIME, NOT_BEFORE), _der(LONG_TIME, NOT_AFTER)),
        subject,
        _der(SEQUENCE, algorithm, _der(BIT_STRING, b"\0" + public_key(seed))),
        _der(
            EXTENSIONS,
            _der(
                SEQUENCE,
                _der(SEQUENCE, _der(OBJECT_ID, CONSTRAINTS), _der(BOOLEAN, TRUE), is_authority),
            ),
        ),
    )
    signature = _der(BIT_STRING, b"\0" + sign(seed, content))
    key = _der(SEQUENCE, _der(INTEGER, b"\0"), algorithm, _der(OCTETS, _der(OCTETS, seed)))
    return Certificate(
        _pem("CERTIFICATE", _der(SEQUENCE, content, algorithm, signature)),
        _pem("PRIVATE KEY", key),
    )


def public_key(seed: bytes) -> bytes:
    """The public key of a private one (32 bytes both)."""
    return _compressed(_multiplied(_expanded(seed)[0], _base()))


def sign(seed: bytes, message: bytes) -> bytes:
    """The signature of a message, 64 bytes."""
    scalar, prefix = _expanded(seed)
    nonce = _number(prefix + message) % ORDER
    commitment = _compressed(_multiplied(nonce, _base()))
    challenge = _number(commitment + public_key(seed) + message)
    return commitment + ((nonce + challenge * scalar) % ORDER).to_bytes(32, "little")


def _expanded(seed: bytes) -> tuple[int, bytes]:
    digest = hashlib.sha512(seed).digest()
    scalar = int.from_bytes(digest[:32], "little") & ((1 << 254) - 8) | (1 << 254)
    return scalar, digest[32:]


def _number(data: bytes) -> int:
    return int.from_bytes(hashlib.sha512(data).digest(), "little")


def _base() -> Point:
    y = 4 * pow(5, PRIME - 2, PRIME) % PRIME
    squared = (y * y - 1) * pow(CURVE_D * y * y + 1, PRIME - 2, PRIME) % PRIME
    x = pow(squared, (PRIME + 3) // 8, PRIME)
    if (x * x - squared) % PRIME:
        x = x * pow(2, (PRIME - 1) // 4, PRIME) % PRIME
    if x & 1:
        x = PRIME - x
    return x, y, 1, x * y % PRIME


def _multiplied(scalar: int, point: Point) -> Point:
    total: Point = (0, 1, 1, 0)
    while scalar:
        if scalar & 1:
            total = _added(total, point)
        point = _added(point, point)
        scalar >>= 1
    return total


def _added(one: Point, other: Point) -> Point:
    a = (one[1] - one[0]) * (other[1] - other[0]) % PRIME
    b = (one[1] + one[0]) * (other[1] + other[0]) % PRIME
    c = 2 * one[3] * other[3] * CURVE_D % PRIME
    d = 2 * one[2] * other[2] % PRIME
    e, f, g, h = b - a, d - c, d + c, b + a
    return e * f % PRIME, g * h % PRIME, f * g % PRIME, e * h % PRIME


def _compressed(point: Point) -> bytes:
    inverse = pow(point[2], PRIME - 2, PRIME)
    x, y = point[0] * inverse % PRIME, point[1] * inverse % PRIME
    return (y | ((x & 1) << 255)).to_bytes(32, "little")


def _der(tag: int, *parts: bytes) -> bytes:
    body = b"".join(parts)
    size = len(body)
    if size < 128:
        return bytes([tag, size]) + body
    width = (size.bit_length() + 7) // 8
    return bytes([tag, 0x80 | width]) + size.to_bytes(width, "big") + body


def _pem(label: str, content: bytes) -> str:
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN {label}-----\n{text}-----END {label}-----\n"
