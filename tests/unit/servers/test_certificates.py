"""The certificate is right by the RFC's own numbers, and by OpenSSL's judgement."""

import ssl
from pathlib import Path

import pytest

from bedplate.servers.certificates import make_certificate, public_key, sign


@pytest.mark.parametrize(
    ("seed", "public", "message", "signature"),
    [
        (
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            (
                "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155"
                "5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
            ),
        ),
        (
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            (
                "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
                "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
            ),
        ),
    ],
)
def test_signatures_are_those_of_the_rfc(
    seed: str, public: str, message: str, signature: str
) -> None:
    """RFC 8032, section 7.1, tests 1 and 2."""
    assert public_key(bytes.fromhex(seed)).hex() == public
    assert sign(bytes.fromhex(seed), bytes.fromhex(message)).hex() == signature


def test_openssl_takes_certificate_and_key_for_a_pair(tmp_path: Path) -> None:
    """Go reads the same forms; one that OpenSSL refuses would be refused there, too."""
    made = make_certificate("bedplate")
    (tmp_path / "certificate.pem").write_text(made.certificate)
    (tmp_path / "key.pem").write_text(made.key)
    context = ssl.create_default_context(cadata=made.certificate)
    context.load_cert_chain(tmp_path / "certificate.pem", tmp_path / "key.pem")
    (found,) = context.get_ca_certs()
    assert found["subject"] == found["issuer"] == ((("commonName", "bedplate"),),)


def test_no_two_are_the_same_and_no_key_is_shown() -> None:
    """Each project has its own: who has one may order its servers about."""
    one, other = make_certificate("bedplate"), make_certificate("bedplate")
    assert one.key != other.key
    assert one.key not in repr(one)
