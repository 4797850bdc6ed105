"""From a state folder to a running core: the one place where everything is put together.

What is built here is what a worker holds. Configuration and certificates become a `Realm`, swapped
whole on reload; the store and the two memories are opened once and live as long as the worker.
"""

import logging
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from directory.backend import Directory, DirectoryError, PasswordStore
from directory.model import LockoutPolicy
from directory.sealing import MasterKey, read_secret_file
from directory.store import Store
from kdc.config import ConfigError, KdcConfig
from kdc.core import Core
from kdc.crypto.key_agreement import GROUPS, Group
from kdc.exchange.memory import ReplayMemory, RetransmitMemory
from kdc.exchange.realm import DhKeys, KdcSigners, LongTermKeys, Realm
from kdc.exchange.stages import Stages, Untimed
from kdc.explain.recorder import RefusalRecorder
from kdc.outcome import Outcome, Peer
from kdc.server.certificate_watch import CertificateKeeper
from kdc.server.certificates import keep_newer_crls, serve_cert_trust
from kdc.server.key_files import MAX_PEM_BYTES, key_file
from kdc.server.replay import FileReplayMemory
from kdc.server.retransmit import FileRetransmitMemory
from kdc.state_folder import StateFolder
from kdc.trust.device import device_policy
from pki.ca import certificates_from_pem, private_key_from_pem
from pki.cms import CmsPolicy
from pki.cms_sign import CmsSigner
from pki.kdc_certificate import NO_KRBTGT_SAN, check_kdc_certificate
from pki.keys import KeyPolicy

log = logging.getLogger(__name__)

PASSWORD_WRITE_WAIT_S = 0.5
"""How long a changed password waits while another process writes: the worker's other clients wait
with it, and who is told to try later loses nothing."""

ALARM_PAUSE = timedelta(hours=1)
MAX_ALARMS = 1024  # different ones kept apart; a flood of more repeats some sooner

GROUP_PREFERENCE = ("modp14", "modp16", "p256", "p384", "p521")
"""The order of TD-DH-PARAMETERS (row D01)."""


def accepted_groups(config: KdcConfig) -> tuple[Group, ...]:
    """List the key-agreement groups a realm accepts, most preferred first.

    pkinit_dh_min_bits counts bits of p and, as in MIT, applies to finite-field groups only; so
    does pkinit_dh_max_bits.
    """
    names = [*GROUP_PREFERENCE, "modp2"] if config.legacy_dh_group2 else [*GROUP_PREFERENCE]
    groups = (GROUPS[name] for name in names)
    return tuple(
        group
        for group in groups
        if group.kind == "ec"
        or group.name == "modp2"
        or config.pkinit_dh_min_bits <= group.bits <= config.pkinit_dh_max_bits
    )


def load_signers(folder: StateFolder, config: KdcConfig) -> KdcSigners:
    """Load the KDC's certificates and keys; none at all is a KDC without PKINIT.

    A certificate that some client would refuse is used, and said so in the log.
    Raises DirectoryError (key file's mode), PkiError (not a key, or of another certificate).
    """
    trusted = tuple(Path(p) for p in config.trusted_secret_paths)
    rsa = ec = None
    for certificate_path, key_path in folder.kdc_certificates():
        leaf_name = certificate_path.name
        leaf, *chain = certificates_from_pem(certificate_path.read_bytes())
        found = key_file(certificate_path, key_path, trusted)
        key = private_key_from_pem(read_secret_file(found, MAX_PEM_BYTES, trusted))
        signer = CmsSigner(key, leaf, tuple(chain))
        now = datetime.now(UTC)
        for problem in check_kdc_certificate(leaf, config.realm, config.domain, now):
            if config.compat == "tools" and problem.startswith(NO_KRBTGT_SAN):
                log.info("%s: %s, left out on purpose by compat = tools", leaf_name, NO_KRBTGT_SAN)
            else:
                log.warning("%s: %s", leaf_name, problem)
        if isinstance(key, RSAPrivateKey):
            rsa = signer
        else:
            ec = signer
    return KdcSigners(rsa=rsa, ec=ec)


def build_realm(
    folder: StateFolder,
    config: KdcConfig,
    directory: Directory,
    replay: ReplayMemory,
    retransmit: RetransmitMemory,
    stages: Stages | None = None,
    passwords: PasswordStore | None = None,
    keeper: CertificateKeeper | None = None,
) -> Realm:
    """Put a realm together from its configuration and what outlives a reload."""
    return Realm(
        config=config,
        directory=directory,
        replay=replay,
        retransmit=retransmit,
        passwords=passwords,
        entropy=os.urandom,
        signers=load_signers(folder, config),
        cms_policy=CmsPolicy(
            accept_sha1=config.legacy_sha1_cms,
            require_content_type_attribute=config.cms_require_content_type,
        ),
        key_policy=KeyPolicy(roca=config.roca_policy),
        device_policy=device_policy(config),
        groups=accepted_groups(config),
        certificates=serve_cert_trust(folder, config) if keeper is None else keeper.load(config),
        service_keys=LongTermKeys(),
        dh_keys=DhKeys(timedelta(seconds=config.dh_key_life_s)),
        lockout=LockoutPolicy(
            threshold=config.lockout_threshold,
            duration=timedelta(seconds=config.lockout_duration_s),
            window=timedelta(seconds=config.lockout_window_s),
        ),
        stages=stages or Untimed(),
    )


BOUND_TO_START = (
    "listen",
    "kpasswd_listen",
    "workers",
    "clockskew_s",
    "max_connections",
    "max_connections_per_source",
    "udp_reply_budget",
    "exempt_sources",
    "audit_failure",
    "keycredential_check_keyid",
    "directory_url",
    "ca_renewal",
    "fetch_revocation",
)
"""What a reload does not change: sockets, processes and shared files are made once."""


class DirectoryAlarms:
    """Tells the operator once an hour of each thing in the directory that must be mended.

    Owner: the worker. Bound: MAX_ALARMS.
    """

    def __init__(self, directory: Directory) -> None:
        self._directory = directory
        self._raised: dict[tuple[object, object], datetime] = {}

    def notice(self, outcome: Outcome, now: datetime) -> None:
        """Log the alarm that a refusal carries, unless it was logged within the hour."""
        facts = outcome.facts
        key = (facts["alarm"], facts.get("key_digest"))
        last = self._raised.get(key)
        if last is not None and now - last < ALARM_PAUSE:
            return
        if len(self._raised) >= MAX_ALARMS:
            self._raised.clear()
        self._raised[key] = now
        log.error(
            "alarm: %s (key digest %s, accounts: %s)",
            facts["alarm"],
            facts.get("key_digest", "-"),
            self._names(facts.get("account_ids")) or "-",
        )

    def _names(self, account_ids: object) -> str:
        """Name accounts for people; one that cannot be read now keeps its number."""
        names = []
        for account_id in account_ids if isinstance(account_ids, tuple | list) else ():
            try:
                account = self._directory.account_by_id(account_id)
            except DirectoryError:
                account = None
            names.append(f"number {account_id}" if account is None else account.sam_account_name)
        return ", ".join(names)


class RealmHandler:
    """A worker's request handler: the core of one realm, and how to reload it."""

    def __init__(self, root: Path) -> None:
        self._folder = StateFolder(root)
        config = self._folder.load_config().config
        trusted = tuple(Path(p) for p in config.trusted_secret_paths)
        master_key = MasterKey.load(self._folder.master_key, trusted_paths=trusted)
        self._store = Store.open(
            self._folder.store,
            master_key,
            read_only=True,
            check_keyid=config.keycredential_check_keyid,
        )
        # A connection of its own that may write, for changes of passwords: everything else of a
        # worker only reads.
        self._passwords = Store.open(
            self._folder.store, master_key, write_wait_s=PASSWORD_WRITE_WAIT_S
        )
        self._replay = FileReplayMemory(
            self._folder.replay_map,
            clockskew=timedelta(seconds=config.clockskew_s),
            now=datetime.now(UTC),
        )
        self._retransmit = FileRetransmitMemory(self._folder.retransmit_map)
        self._alarms = DirectoryAlarms(self._store)
        self._stages: Stages = Untimed()
        self._recorder: RefusalRecorder | None = None
        self._switch_recorder(config)
        self._certificates = CertificateKeeper(self._folder)
        self._core = Core(self._build(config))
        self._certificates.begin(config)

    def _build(self, config: KdcConfig) -> Realm:
        return build_realm(
            self._folder,
            config,
            self._directory(config),
            self._replay,
            self._retransmit,
            self._stages,
            # Passwords of a realm in LDAP are changed there, or the two would differ.
            None if config.directory_url else self._passwords,
            self._certificates,
        )

    def _directory(self, config: KdcConfig) -> Directory:
        """Return what the core asks about accounts; a realm in LDAP has another one."""
        del config
        return self._store

    def time_stages(self, stages: Stages) -> None:
        """Tell the stages of every request to who times them, also after a reload."""
        self._stages = self._core.realm.stages = stages

    def handle(self, message: bytes, peer: Peer, now: datetime) -> Outcome:
        """Answer one message; see `Core.handle`."""
        self._watch_certificates(now)
        outcome = self._core.handle(message, peer, now)
        self._note(message, peer, now, outcome)
        return outcome

    def _note(self, message: bytes, peer: Peer, now: datetime, outcome: Outcome) -> None:
        """Keep a refusal for `kdc explain`, and raise the alarm that it carries."""
        if outcome.reference and self._recorder is not None:
            self._recorder.record(message, peer, now, outcome)
        if "alarm" in outcome.facts:
            self._alarms.notice(outcome, now)

    def tick(self, now: datetime) -> None:
        """Do what is due without a request; about once a second."""
        self._watch_certificates(now)

    def tell_leaves(self, seen: Callable[[bytes], None]) -> None:
        """Tell someone of each logon certificate (DER) whose path was found valid.

        Nobody while nothing is fetched: whoever would read it is not there.
        """
        if self._core.realm.config.fetch_revocation:
            self._certificates.tell(seen, self._core.realm.certificates)

    def _watch_certificates(self, now: datetime) -> None:
        """Take changed CA, CRL and OCSP files without a reload of the rest."""
        realm = self._core.realm
        renewed = self._certificates.renewed(realm.certificates, realm.config, now)
        if renewed is not realm.certificates:
            self._core.realm = replace(realm, certificates=renewed)

    def _switch_recorder(self, config: KdcConfig) -> None:
        """Open the ring of refused requests anew, or close it, as the configuration says."""
        if self._recorder is not None:
            self._recorder.close()
            self._recorder = None
        if config.record_refusals:
            self._recorder = RefusalRecorder(self._folder.refusals)

    @property
    def realm(self) -> Realm:
        """The realm that requests are answered with now."""
        return self._core.realm

    @property
    def internal_errors(self) -> int:
        """How many requests ended in a bug since the worker started."""
        return self._core.internal_errors

    def reload(self) -> None:
        """Read configuration and certificates again and swap the realm whole.

        Raises ConfigError, DirectoryError, PkiError or OSError and leaves everything as it was.
        What is bound to the start (listen, workers, clockskew of the replay map) stays until then.
        """
        old = self._core.realm
        config = self._folder.load_config().config
        realm = self._build(config)
        if old.signers and not realm.signers:
            raise ConfigError(
                str(self._folder.kdc_certificate),
                None,
                "the KDC's certificate is gone",
                "PKINIT would end with it",
                "put it back or issue one: kdc cert issue-kdc",
            )
        keep_newer_crls(realm.certificates, old.certificates)
        self._switch_recorder(config)
        self._core.realm = realm
        self._certificates.begin(config)
        for name in sorted({*config.weak_forms()} - {*old.config.weak_forms()}):
            log.warning("weak form accepted since the reload: %s", name)
        waiting = [n for n in BOUND_TO_START if getattr(config, n) != getattr(old.config, n)]
        if waiting:
            log.warning("changed, but waits for a restart: %s", ", ".join(waiting))

    def close(self) -> None:
        """Close the store and the memories."""
        if self._recorder is not None:
            self._recorder.close()
        self._store.close()
        self._passwords.close()
        self._replay.close()
        self._retransmit.close()


def build_handler(root: Path) -> RealmHandler:
    """Build a worker's handler for the realm in a state folder, embedded or in LDAP."""
    if StateFolder(root).load_config().config.directory_url:
        # Here: only such a realm's workers carry what it needs, and it builds on this module.
        from kdc.server.replica_handler import ReplicaHandler

        return ReplicaHandler(root)
    return RealmHandler(root)
