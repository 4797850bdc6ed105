"""Real logons against the running server, as an account made for the purpose.

Rules
  1. The account is made disabled, with a password and a key that nobody else ever sees, and it
     expires in ten minutes: what a killed doctor leaves behind is good for nothing, and the next
     run deletes it.
  2. What must be refused is tried as well: a doctor that sees only open doors is no doctor.
"""

import hashlib
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from directory.changes import AccountChanges, NewAccount
from directory.keycredential import NewKeyCredential, encode_key_credential
from directory.model import AccountKind
from directory.store import Store
from kdc.cli.checks.finding import Finding, Patient, fail, failed_by, ok, warn
from kdc.cli.checks.machine import Place
from kdc.cli.logon import run
from kdc.cli.logon_errors import explain_client_error
from kdc.client.as_exchange import AsExchange, AsOptions, AsResult, client_name
from kdc.client.errors import ClientError, RefusedError, error_name
from kdc.client.mechanism import Mechanism
from kdc.client.password import PasswordMechanism
from kdc.client.pkinit import PkinitMechanism, PkinitOptions
from kdc.client.transport import KdcAddress, Protocol
from kdc.exchange.passwords import password_keys
from kdc.formats.ccache import Credential
from kdc.wire.constants import ErrorCode
from pki import ca, oids
from pki.cms_sign import CmsSigner
from pki.x500 import simple_name

PREFIX = "kdc-doctor-"
LIFE = timedelta(minutes=10)
TIMEOUT_S = 2.0
_RELOAD = "SIGHUP to the server (systemctl reload keytrust-kdc)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """The account that logs on."""

    account_id: int
    name: str
    password: str = field(repr=False)
    signer: CmsSigner = field(repr=False)


def check_logons(patient: Patient, place: Place) -> Iterator[Finding]:
    """Log on by password and by key, and see refused what must be.

    Raises DirectoryError when the account cannot be made.
    """
    with patient.realm.store(write=True, local=True) as store:
        yield from _clean_up(patient, store)
        with _visitor(patient, store) as visitor:
            yield ok(
                "logons.account", f"{visitor.name} is made for this, and deleted again at the end"
            )
            yield from _log_on(patient, place, store, visitor)


def _clean_up(patient: Patient, store: Store) -> Iterator[Finding]:
    """Delete what an earlier run had no time to delete; not what another is using now."""
    for left in store.list_accounts(prefix=PREFIX):
        if left.expires_at is not None and left.expires_at <= patient.now:
            store.delete_account(left.account_id)
            yield ok(
                "logons.account", f"{left.sam_account_name}, left by an earlier run, is deleted"
            )


@contextmanager
def _visitor(patient: Patient, store: Store) -> Iterator[Visitor]:
    name = PREFIX + secrets.token_hex(4)
    password = secrets.token_urlsafe(24)
    signer = _hello_signer(patient, name)
    credential = NewKeyCredential(public_key=signer.certificate.public_key(), created=patient.now)
    account_id = store.add_account(
        NewAccount(
            kind=AccountKind.USER,
            name=name,
            created_at=patient.now,
            disabled=True,
            expires_at=patient.now + LIFE,
            keys=password_keys(patient.config, name, password),
            key_credentials=(
                encode_key_credential(credential, store.new_dn(name, AccountKind.USER)),
            ),
        )
    )
    try:
        yield Visitor(account_id=account_id, name=name, password=password, signer=signer)
    finally:
        store.delete_account(account_id)


def _hello_signer(patient: Patient, name: str) -> CmsSigner:
    key = ca.generate_key(ca.KeyType.RSA_2048)
    subject = simple_name((oids.ID_AT_COMMON_NAME, name))
    return CmsSigner(key, ca.self_signed_hello_certificate(key, subject, patient.now, days=1))


# -- the logons ------------------------------------------------------------------------------


def _log_on(patient: Patient, place: Place, store: Store, visitor: Visitor) -> Iterator[Finding]:
    attempt = _Attempt(patient=patient, place=place, name=visitor.name)
    hidden = patient.config.hide_unknown
    yield attempt.refused(
        "logons.disabled",
        "a disabled account",
        PasswordMechanism(visitor.password),
        ErrorCode.KDC_ERR_PREAUTH_FAILED if hidden else ErrorCode.KDC_ERR_CLIENT_REVOKED,
    )
    store.update_account(visitor.account_id, AccountChanges(disabled=False))
    required = patient.config.require_fast
    if not required:
        yield from attempt.accepted("logons.password", PasswordMechanism(visitor.password), "udp")
    if patient.folder.kdc_certificates():
        yield from attempt.accepted("logons.key", attempt.pkinit(visitor.signer), "tcp")
        yield attempt.refused(
            "logons.stranger",
            "a key that is registered nowhere",
            attempt.pkinit(_hello_signer(patient, visitor.name)),
            ErrorCode.KDC_ERR_CLIENT_NOT_TRUSTED,
        )
    if attempt.tgt is not None:
        attempt.armor = attempt.tgt
        yield from attempt.accepted(
            "logons.fast", PasswordMechanism(visitor.password, armored=True), "udp"
        )
        attempt.armor = attempt.tgt if required else None
    elif required:
        yield warn(
            "logons.fast",
            "no logon by password was tried: it needs FAST, and nothing gave a TGT for the armor",
            "see the lines above",
        )
        return
    yield attempt.refused(
        "logons.wrong_password",
        "a wrong password",
        PasswordMechanism(secrets.token_urlsafe(24), armored=attempt.armor is not None),
        ErrorCode.KDC_ERR_PREAUTH_FAILED,
    )


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """Logons of one name at one place."""

    patient: Patient
    place: Place
    name: str
    tgt: Credential | None = None
    """Of the last logon that worked."""
    armor: Credential | None = None
    """Log on inside FAST."""

    def pkinit(self, signer: CmsSigner) -> PkinitMechanism:
        """Make a fresh PKINIT exchange's mechanism."""
        anchors = ca.certificates_from_pem(self.patient.folder.ca_certificate.read_bytes())
        options = PkinitOptions(anchors=anchors, domain=self.patient.config.domain)
        return PkinitMechanism(signer, options)

    def _run(self, mechanism: Mechanism, protocol: Protocol) -> AsResult:
        options = AsOptions(
            client=client_name(self.name), realm=self.patient.config.realm, armor=self.armor
        )
        result, _ = run(AsExchange(options, mechanism, os.urandom), self._address(protocol))
        return result

    def _address(self, protocol: Protocol) -> KdcAddress:
        return KdcAddress(
            host=self.place.host, port=self.place.port, protocol=protocol, timeout_s=TIMEOUT_S
        )

    def _failed(self, check: str, error: ClientError, protocol: Protocol) -> Finding:
        if isinstance(error, RefusedError) and error.code in (
            ErrorCode.KDC_ERR_C_PRINCIPAL_UNKNOWN,
            ErrorCode.KDC_ERR_WRONG_REALM,
        ):
            return fail(
                check,
                f"the KDC on {self.place} does not know {self.name}: it serves another folder "
                f"than {self.patient.folder.root}",
                "name the right folder with --state, or the right server with --kdc",
            )
        return failed_by(check, explain_client_error(error, self.name, self._address(protocol)))

    def accepted(self, check: str, mechanism: Mechanism, protocol: Protocol) -> Iterator[Finding]:
        """Log on; then look at what the ticket tells."""
        try:
            result = self._run(mechanism, protocol)
        except ClientError as error:
            yield self._failed(check, error, protocol)
            return
        self.tgt = result.credential
        how = {"password": "a password", "pkinit": "a registered key (key trust)"}[mechanism.name]
        if self.armor is not None:
            how += " inside FAST"
        yield ok(check, f"a logon with {how} gets a ticket over {protocol}")
        used = result.facts.get("kdc_certificate_sha256")
        if used is not None and used not in self._certificates():
            yield warn(
                "logons.certificate",
                "the server still signs with an earlier certificate than the folder's",
                _RELOAD,
            )

    def _certificates(self) -> set[str]:
        files = self.patient.folder.kdc_certificates()
        leaves = (ca.certificates_from_pem(path.read_bytes())[0] for path, _ in files)
        return {hashlib.sha256(leaf).hexdigest() for leaf in leaves}

    def refused(self, check: str, what: str, mechanism: Mechanism, code: ErrorCode) -> Finding:
        """Try what must be refused with this code."""
        try:
            self._run(mechanism, "udp")
        except RefusedError as error:
            if error.code == code:
                return ok(check, f"{what} is refused ({error_name(error.code)})")
            return self._failed(check, error, "udp")
        except ClientError as error:
            return self._failed(check, error, "udp")
        return fail(
            check, f"{what} got a ticket", "stop the server, and report this: it must not happen"
        )
