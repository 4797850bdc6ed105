"""Is what was fetched what we wanted, and not older than what we have? Pure.

Rules
  1. A CRL counts when it is signed by the CA that it was expected of, is current, and takes the
     place of none with a higher number: nobody who can answer for a CA's server rolls back a list.
     A list that is current makes room only for one that tells as much: a delta list or a part of
     the CA's lists, signed as well, would take the rest away.
  2. An OCSP response counts when the CA, or a responder that the CA named, signed it, is about the
     certificate, current, and not older than the one at hand.
"""

from collections.abc import Iterable
from datetime import datetime

from pki.certificate import Certificate
from pki.chain import ChainProfile
from pki.crl import Crl
from pki.errors import PkiError
from pki.ocsp import OcspResponse, SingleStatus
from pki.pem import from_pem
from pki.revocation import is_of_the_future, same_series


class UnwantedError(Exception):
    """What was fetched is of no use; the text is a fixed phrase for the log."""


def judge_crl(
    data: bytes,
    issuers: Iterable[Certificate],
    held: Iterable[Crl],
    profile: ChainProfile,
    now: datetime,
) -> tuple[Crl, Certificate]:
    """Return the list and the CA that made it.

    data: DER or PEM. issuers: the CAs that it may be of. held: the lists at hand, of any CA.
    Raises UnwantedError.
    """
    try:
        crl = Crl(from_pem(data))
    except PkiError as error:
        raise UnwantedError(f"no CRL: {error.fault.value}") from None
    issuer = signer_of(crl, tuple(issuers), profile)
    if now > crl.next_update:
        raise UnwantedError("the CRL has ended")
    if is_of_the_future(crl.this_update, now):
        raise UnwantedError("the CRL is of the future")
    for other in held:
        if other.issuer != crl.issuer or not same_series(other, crl):
            continue
        try:
            other.check_signature(issuer, profile.digests, profile.key_policy)
        except PkiError:
            continue  # nobody's, or of a CA of the same name
        if _is_older(crl, other):
            raise UnwantedError("the CRL is older than the one at hand")
    return crl, issuer


def check_takes_place(
    crl: Crl,
    issuer: Certificate,
    before: Crl,
    issuers: Iterable[Certificate],
    profile: ChainProfile,
    now: datetime,
) -> None:
    """Check that a list tells as much as the one whose file it is to take.

    crl, issuer: what `judge_crl` returned. before: the list in the file. Raises UnwantedError.
    """
    if now > before.next_update:
        return
    try:
        signer = signer_of(before, tuple(issuers), profile)
    except UnwantedError:
        return  # of a CA that is not held any more
    if signer is not issuer:
        raise UnwantedError("the CRL is another CA's than the one at hand, which is current")
    if same_series(crl, before):
        return
    if crl.is_delta or crl.scope_bytes or _is_older(crl, before):
        raise UnwantedError("the CRL tells less than the one at hand, which is current")


def signer_of(crl: Crl, issuers: tuple[Certificate, ...], profile: ChainProfile) -> Certificate:
    """Return which of these CAs made a list. Raises UnwantedError."""
    fault = "the CRL is another CA's"
    for issuer in issuers:
        try:
            crl.check_signature(issuer, profile.digests, profile.key_policy)
        except PkiError as error:
            if len(issuers) == 1:
                fault = f"the CRL is not the CA's: {error.fault.value}"
            continue
        return issuer
    raise UnwantedError(fault)


def _is_older(crl: Crl, other: Crl) -> bool:
    """Tell whether a list is older than another of its series (RFC 5280 5.2.3)."""
    if crl.number is not None and other.number is not None and crl.number != other.number:
        return crl.number < other.number
    if crl.number is None and other.number is not None:
        return True
    return crl.this_update < other.this_update


def judge_response(
    data: bytes,
    serial_number: int,
    issuer: Certificate,
    held: bytes | None,
    profile: ChainProfile,
    now: datetime,
) -> SingleStatus:
    """Return what a response says of a certificate.

    held: the response at hand. Raises UnwantedError.
    """
    try:
        response = OcspResponse(data)
        response.responder(issuer, profile, now)
        status = _status_of(response, serial_number, issuer)
    except PkiError as error:
        raise UnwantedError(f"no use as an OCSP response: {error.detail or error.fault}") from None
    if status is None:
        raise UnwantedError("the OCSP response is about another certificate")
    if not status.known:
        raise UnwantedError("the OCSP responder does not know the certificate")
    if now > status.next_update:
        raise UnwantedError("the OCSP response has ended")
    if is_of_the_future(status.this_update, now):
        raise UnwantedError("the OCSP response is of the future")
    before = None
    if held is not None:
        try:
            before = _status_of(OcspResponse(held), serial_number, issuer)
        except PkiError:
            before = None
    if before is not None and status.this_update < before.this_update:
        raise UnwantedError("the OCSP response is older than the one at hand")
    return status


def _status_of(
    response: OcspResponse, serial_number: int, issuer: Certificate
) -> SingleStatus | None:
    about = (one for one in response.statuses if one.is_about_serial(serial_number, issuer))
    return next(about, None)
