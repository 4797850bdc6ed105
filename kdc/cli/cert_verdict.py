"""Would a logon with this certificate be accepted? The KDC's own rules, told in words."""

import hashlib
from dataclasses import dataclass

from cryptography import x509

from directory.keymaterial import MaterialForm, encode_key_material
from directory.store import Store
from kdc.cli.options import is_host_name
from kdc.cli.output import iso
from kdc.cli.state import now
from kdc.config import KdcConfig
from kdc.errors import FAULT_CODES, KdcError
from kdc.policy import check_account_state, check_password_state
from kdc.trust import SignerEvidence
from kdc.trust.cert_trust import CertTrust
from kdc.trust.device import DevicePolicy, device_policy
from kdc.trust.named_by_certificate import accounts_named
from kdc.trust.verdict import judge
from kdc.wire.constants import ErrorCode
from pki import names, oids
from pki.certificate import Certificate
from pki.errors import ChainError, PkiError
from pki.kdc_certificate import NO_KRBTGT_SAN, check_kdc_certificate
from pki.keys import KeyPolicy, PublicKey, check_key, public_key_from_spki
from pki.x500 import decode_name, render_rfc4514


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What would become of a certificate, and why."""

    kind: str
    """`logon`, or `kdc` for a certificate that a KDC would use."""
    accepted: bool
    headline: str
    reasons: tuple[str, ...]
    account: str | None = None
    """The account that a logon would be for."""
    code: str | None = None
    """The error that a refused logon would get."""


def _names(certificate: Certificate) -> names.SubjectAltNames:
    try:
        value = certificate.extension(oids.ID_CE_SUBJECT_ALT_NAME)
        return names.SubjectAltNames() if value is None else names.decode_subject_alt_name(value)
    except PkiError:
        return names.SubjectAltNames()


def _purposes(certificate: Certificate) -> list[str]:
    try:
        extensions = x509.load_der_x509_certificate(certificate.der).extensions
        usage = extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension):
        return []
    return [purpose.dotted_string for purpose in usage]


_PURPOSE_NAMES = {
    oids.ID_KP_SERVER_AUTH: "server authentication",
    oids.ID_KP_CLIENT_AUTH: "client authentication",
    oids.ID_PKINIT_KP_CLIENT_AUTH: "PKINIT client authentication",
    oids.ID_PKINIT_KP_KDC: "PKINIT KDC",
    oids.ID_MS_KP_SMARTCARD_LOGON: "smart card logon",
}


def purpose_name(oid: str) -> str:
    """Name a purpose of extKeyUsage for people."""
    name = _PURPOSE_NAMES.get(oid)
    return oid if name is None else f"{name} ({oid})"


def _kdc_problems(certificate: Certificate, config: KdcConfig) -> tuple[str, ...]:
    """Say what would make a client refuse a KDC's certificate in this realm."""
    problems = []
    for problem in check_kdc_certificate(certificate.der, config.realm, config.domain, now()):
        wanted = config.compat == "tools" and problem.startswith(NO_KRBTGT_SAN)
        problems.append(f"{problem} (left out on purpose: compat = tools)" if wanted else problem)
    for name in _names(certificate).dns:
        # Windows looks for the NetBIOS name as well, and that may have an underscore.
        if not is_host_name(name) and name != config.netbios:
            problems.append(f"its dNSName {name!r} is no host name: no client will look for it")
    return tuple(problems)


def _key(certificate: Certificate) -> PublicKey:
    return public_key_from_spki(certificate.subject_public_key_info)


def describe(certificate: Certificate) -> dict[str, object]:
    """Describe a certificate with stable keys."""
    start, end = certificate.validity()
    found = _names(certificate)
    try:
        key = _key(certificate)
        shown = f"{key.kind} {key.bits}"
    except PkiError as error:
        shown = str(error)
    return {
        "subject": render_rfc4514(decode_name(certificate.subject)),
        "issuer": render_rfc4514(decode_name(certificate.issuer)),
        "serial_number": f"{certificate.serial_number:x}",
        "not_before": iso(start),
        "not_after": iso(end),
        "key": shown,
        "sha256": hashlib.sha256(certificate.der).hexdigest(),
        # Windows shows this one as the thumbprint.
        "sha1": hashlib.sha1(certificate.der, usedforsecurity=False).hexdigest(),
        "purposes": _purposes(certificate),
        "upns": list(found.upns),
        "dns_names": list(found.dns),
        "principals": [f"{'/'.join(name.components)}@{name.realm}" for name in found.pkinit],
        "sid": _sid(certificate),
    }


def _sid(certificate: Certificate) -> str | None:
    try:
        value = certificate.extension(oids.ID_MS_SID_EXTENSION)
        return None if value is None else names.decode_sid_extension(value)
    except PkiError:
        return None


def judge_certificate(
    certificate: Certificate,
    config: KdcConfig,
    store: Store,
    trust: CertTrust | None = None,
    sent: tuple[bytes, ...] = (),
) -> Verdict:
    """Judge a certificate as this realm's KDC would, or its clients for a KDC's certificate.

    sent: DER of the certificates that a client would send along.
    """
    if oids.ID_PKINIT_KP_KDC in _purposes(certificate):
        problems = _kdc_problems(certificate, config)
        return Verdict(
            kind="kdc",
            accepted=not problems,
            headline=(
                "Some clients would refuse it as the KDC's certificate:"
                if problems
                else "MIT, Heimdal and Windows clients would accept it as the KDC's certificate."
            ),
            reasons=problems,
        )
    try:
        key = _key(certificate)
        warnings = check_key(key, KeyPolicy(roca=config.roca_policy))
    except PkiError as error:
        return _refused(ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED, f"its key is not accepted: {error}")
    owners = store.accounts_by_key(key.digest)
    account = store.account_by_id(owners[0]) if owners else None
    evidence = SignerEvidence(public_key=key, certificate=certificate.der, intermediates=sent)
    if account is None and trust is not None and certificate.subject != certificate.issuer:
        return _judge_chain(evidence, trust, store, device_policy(config))
    if account is None:
        no_ca = "this realm has no logon CA" if trust is None else "it is its own issuer"
        return _refused(
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
            f"its key is registered on no account, and {no_ca}",
            *_unusable(key, store),
        )
    try:
        verdict = judge(evidence, account, store, None, device_policy(config), now())
        check_account_state(account, now())
        check_password_state(account, now())
    except KdcError as refusal:
        return _refused(refusal.code, refusal.why, *_owners(owners, store))
    name = account.sam_account_name
    return Verdict(
        kind="logon",
        accepted=True,
        headline=f"A logon with it as {name} would be accepted (key trust).",
        reasons=(
            f"its key is registered on {name} as {verdict.key_id[:16]}",
            "its issuer, names and dates do not matter: the key decides",
            *warnings,
            *verdict.warnings,
        ),
        account=name,
    )


def _judge_chain(
    evidence: SignerEvidence, trust: CertTrust, store: Store, devices: DevicePolicy
) -> Verdict:
    """Judge a certificate of a CA: its chain, then the account that it names."""
    try:
        chain = trust.valid_chain(evidence.certificate, evidence.intermediates, now())
    except ChainError as error:
        place = "the certificate itself" if error.index == 0 else f"issuer {error.index} of it"
        return _refused(
            FAULT_CODES[error.chain_fault],
            f"{error.chain_fault.value}: {error.detail}",
            f"at fault is {place}: {error.subject or 'no readable subject'}, "
            f"serial number {error.serial_number:x}",
            "its key is registered on no account",
        )
    account = next(iter(accounts_named(chain.names, store, trust.mapping)), None)
    if account is None:
        return _refused(
            ErrorCode.KDC_ERR_CLIENT_NAME_MISMATCH,
            "its chain is valid, but no name in it is an account's",
            "an account whose altSecurityIdentities point at it could log on with it",
        )
    try:
        verdict = judge(evidence, account, store, trust, devices, now())
        check_account_state(account, now())
        check_password_state(account, now())
    except KdcError as refusal:
        return _refused(refusal.code, refusal.why, f"the account: {account.sam_account_name}")
    name = account.sam_account_name
    return Verdict(
        kind="logon",
        accepted=True,
        headline=f"A logon with it as {name} would be accepted (certificate trust).",
        reasons=(
            f"it maps to {name} by: {verdict.mapping}",
            f"its chain is valid until {iso(chain.not_after)}, its revocation status until "
            f"{iso(chain.valid_until)}",
            *verdict.warnings,
        ),
        account=name,
    )


def _refused(code: ErrorCode, *reasons: str) -> Verdict:
    return Verdict(
        kind="logon",
        accepted=False,
        headline=f"A logon with it would be refused: {code.name} ({int(code)}).",
        reasons=reasons,
        code=code.name,
    )


def _owners(owners: tuple[int, ...], store: Store) -> tuple[str, ...]:
    if len(owners) < 2:
        return ()
    accounts = (store.account_by_id(owner) for owner in owners)
    listed = ", ".join(a.sam_account_name for a in accounts if a is not None)
    return (f"they are: {listed}",)


def _unusable(key: PublicKey, store: Store) -> tuple[str, ...]:
    """Find values that hold this key but may not log on, and say why."""
    found = []
    for form in (MaterialForm.BCRYPT, MaterialForm.RSA_PUBLIC_KEY, MaterialForm.SPKI):
        try:
            key_id = hashlib.sha256(encode_key_material(key, form)).digest()
        except PkiError:
            continue
        for owner in store.accounts_by_key_id(key_id):
            account = store.account_by_id(owner)
            for value in account.key_credentials if account is not None else ():
                if value.key_id == key_id and not value.usable and account is not None:
                    name = account.sam_account_name
                    found.append(f"a value on {name} holds it but is not usable: {value.reason}")
    return tuple(found)
