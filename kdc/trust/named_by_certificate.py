"""Whom does a certificate name, when nobody has proven to hold its key?

For S4U2Self by certificate, and for people who ask about one. What is found is judged as a logon
with the certificate would be, so nothing is found that the certificate could not log on to.
"""

from collections.abc import Iterator
from datetime import datetime

from directory.backend import Directory
from directory.model import Account, AccountKind
from kdc.errors import KdcError
from kdc.trust import KINDS
from kdc.trust.alt_security import strong_keys, weak_keys
from kdc.trust.cert_trust import CertTrust, valid_logon_chain
from kdc.trust.logon_names import LogonNames
from kdc.trust.mapping import (
    MappingPolicy,
    account_of_pkinit_name,
    accounts_of_upn,
    is_of_realm,
    judge_mapping,
)
from kdc.wire.constants import ErrorCode


def accounts_named(
    names: LogonNames, directory: Directory, policy: MappingPolicy
) -> tuple[Account, ...]:
    """List, once each, the users and computers that a certificate could stand for.

    By its names, and by altSecurityIdentities that point at it.

    Nothing is judged: it is a list of whom to judge. Raises DirectoryError.
    """
    found = {a.account_id: a for a in _candidates(names, directory, policy) if a is not None}
    return tuple(account for account in found.values() if account.kind in KINDS)


def _candidates(
    names: LogonNames, directory: Directory, policy: MappingPolicy
) -> Iterator[Account | None]:
    for upn in names.upns[:1]:  # a second one refuses the certificate
        yield from accounts_of_upn(upn, directory, policy)
    for host in names.dns[:MAX_NAMES]:
        label, _, domain = host.partition(".")
        if label and is_of_realm(domain, policy):
            computer = directory.account_by_name(f"{label}$")
            if computer is not None and computer.kind is AccountKind.COMPUTER:
                yield computer
    for name in names.pkinit[:MAX_NAMES]:
        yield account_of_pkinit_name(name, directory, policy)
    mapped = (*strong_keys(names), *weak_keys(names))
    for account_id in directory.accounts_by_alt_security_identity(mapped)[:MAX_NAMES]:
        yield directory.account_by_id(account_id)


MAX_NAMES = 16
"""Names of each kind that are looked up."""


def find_by_certificate(
    certificate: bytes,
    named: Account | None,
    directory: Directory,
    trust: CertTrust,
    now: datetime,
) -> Account | None:
    """Find the account that a certificate of a logon CA stands for; None: it names nobody's.

    certificate: DER; its key is registered on no account. named: the account that the request
    names besides, and then no other. Chain, revocation and mapping are those of a logon.
    Raises KdcError: what `judge_certificate_trust` raises; KDC_ERR_CLIENT_NAME_MISMATCH also for a
    certificate that maps to two accounts. DirectoryError.
    Source: MS-SFU 3.2.5.1.1; MS-PKCA 3.1.5.2.1.
    """
    names = valid_logon_chain(certificate, (), trust, now).names
    candidates = (named,) if named is not None else accounts_named(names, directory, trust.mapping)
    refusal: KdcError | None = None
    found: list[Account] = []
    for account in candidates:
        try:
            judge_mapping(names, account, directory, trust.mapping)
        except KdcError as error:
            refusal = refusal or error
        else:
            found.append(account)
    if len(found) > 1:
        raise KdcError(
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH, "the certificate maps to several accounts"
        )
    if found:
        return found[0]
    if refusal is not None:
        raise refusal
    return None
