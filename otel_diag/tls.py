"""TLS on both sides: what the server shows and asks for, what commands trust and show."""

from __future__ import annotations

import ssl
from pathlib import Path

from otel_diag.config import Settings
from otel_diag.errors import StartupError

_END = "-----END CERTIFICATE-----"


def server_context(settings: Settings) -> ssl.SSLContext | None:
    """What HTTPS is served with; None without ``tls_cert``. Raises StartupError for files that cannot be used."""
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(settings.tls_cert, settings.tls_key)
        if settings.tls_client_ca is not None:
            context.load_verify_locations(settings.tls_client_ca)
            context.verify_mode = ssl.CERT_REQUIRED
    except OSError as error:  # ssl.SSLError is one
        raise StartupError(
            f"cannot serve TLS with {settings.tls_cert} and {settings.tls_key}: {error}",
            hint="tls_cert, tls_key and tls_client_ca are PEM files that belong together and can be read.",
        ) from error
    return context


def client_context(server_cert: Path, settings: Settings) -> ssl.SSLContext:
    """What a command speaks to its own server with: exactly that certificate is trusted, under any host name.

    Raises StartupError for files that cannot be used.
    """
    try:
        # The first certificate of the chain is the server's. Trusting the others would trust whatever they sign.
        own = server_cert.read_text("ascii").partition(_END)[0] + _END
        context = ssl.create_default_context(cadata=own)
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        context.check_hostname = False
        if settings.client_cert is not None and settings.client_key is not None:
            context.load_cert_chain(settings.client_cert, settings.client_key)
    except OSError as error:
        raise StartupError(
            f"cannot speak TLS to the server that shows {server_cert}: {error}",
            hint="That file, client_cert and client_key are PEM files that must be readable.",
        ) from error
    return context
