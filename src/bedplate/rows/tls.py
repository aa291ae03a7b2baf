"""What a URL asks of TLS, as asyncpg takes it; called once for each `Database`.

As libpq means it, but for one thing: `verify-ca` and `verify-full` without `sslrootcert` trust
what the machine trusts, and not only `~/.postgresql/root.crt`, since a provider's certificate is
mostly one that every browser knows.
"""

import ssl

from bedplate.errors import SettingsError
from bedplate.urls import DatabaseUrl

VERIFYING = ("verify-ca", "verify-full")


def tls_of(url: DatabaseUrl) -> ssl.SSLContext | str | None:
    """A mode's name where nothing is verified, else a context; None leaves it to asyncpg.

    Raises `SettingsError` when a file that the URL names cannot be read.
    """
    options = dict(url.options)
    authority, own = options.get("sslrootcert"), options.get("sslcert")
    mode = url.sslmode
    if authority and mode in (None, "allow", "prefer", "require"):
        mode = "verify-ca"
    if mode == "disable" or (mode not in VERIFYING and own is None):
        return mode
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = mode == "verify-full"
    try:
        if mode not in VERIFYING:
            context.verify_mode = ssl.CERT_NONE
        elif authority in (None, "system"):
            context.load_default_certs()
        else:
            context.load_verify_locations(authority)
        if own is not None:
            context.load_cert_chain(own, options.get("sslkey"))
    except (OSError, ssl.SSLError) as error:
        raise SettingsError(
            f"DATABASE_URL names a certificate that cannot be read: {error.strerror or error}",
            hint="sslrootcert, sslcert and sslkey are paths of PEM files on this machine.",
            variable="DATABASE_URL",
        ) from error
    return context
