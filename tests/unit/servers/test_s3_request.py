"""The signature is the one of Amazon's documentation."""

import pytest

from bedplate.servers.s3_request import _parsed, authorization
from bedplate.servers.state import S3Keys


def test_a_signature_is_that_of_the_documentation() -> None:
    """Its example "GET Object", with the keys that it gives away."""
    found = authorization(
        "GET",
        "/test.txt",
        "",
        {
            "host": "examplebucket.s3.amazonaws.com",
            "range": "bytes=0-9",
            "x-amz-content-sha256": "e3b0c44298fc1c149afbf4c8996fb924"
            "27ae41e4649b934ca495991b7852b855",
            "x-amz-date": "20130524T000000Z",
        },
        S3Keys("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
        region="us-east-1",
    )
    assert found == (
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_an_answer_is_taken_apart() -> None:
    """Status, headers in small letters, body with whatever is in it."""
    found = _parsed(b"HTTP/1.1 409 Conflict\r\nServer: SeaweedFS 4.48\r\n\r\na\r\n\r\nb")
    assert (found.status, found.headers, found.body) == (
        409,
        {"server": "SeaweedFS 4.48"},
        b"a\r\n\r\nb",
    )


@pytest.mark.parametrize("raw", [b"", b"HTTP/1.1 200 OK", b"-ERR nonsense\r\n\r\n"])
def test_what_is_no_http_is_refused(raw: bytes) -> None:
    """Another program may have taken the port, or the server died in the middle."""
    with pytest.raises(ValueError):
        _parsed(raw)
