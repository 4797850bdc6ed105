"""The realm as an exchange sees it: configuration, accounts, keys and memories, given from outside.

Nothing here changes during a request except what the memories and the DH keys own. A reload makes
a new `Realm` and swaps it whole.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from directory.backend import Directory, PasswordStore
from directory.model import LockoutPolicy, PrincipalKey
from kdc.config import KdcConfig
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.crypto.key_agreement import Group, KeyPair, generate
from kdc.exchange.memory import ReplayMemory, RetransmitMemory
from kdc.exchange.open_tgt import OpenTgts
from kdc.exchange.stages import Stages, Untimed
from kdc.pac import TgtFrames
from kdc.trust.cert_trust import CertTrust
from kdc.trust.device import DevicePolicy
from pki.cms import CmsPolicy
from pki.cms_sign import CmsSigner
from pki.keys import KeyPolicy

Entropy = Callable[[int], bytes]
"""count -> that many random octets."""

FRESH_KEY_EXPIRATION = timedelta(hours=2)
"""dhKeyExpiration for a key used once. Windows says two hours, and Windows 11 with Credential
Guard fails when the field is missing, although such a key is never used again."""


@dataclass(slots=True, kw_only=True)
class DhKey:
    """A key-agreement key of the KDC."""

    pair: KeyPair
    expires: datetime
    signed: dict[CmsSigner, bytes]
    """dh_reuse = "replies": the KDCDHKeyInfo each of our (at most two) certificates signed."""


class DhKeys:
    """The KDC's key-agreement keys that are reused, one for each group, each for `life`.

    Owner: the worker. Bound: the number of groups. RFC 4556 3.2.3.1 allows reuse only for clients
    that sent clientDHNonce; the caller sees to that.
    """

    def __init__(self, life: timedelta) -> None:
        self._life = life
        self._keys: dict[str, DhKey] = {}

    def reusable(self, group: Group, now: datetime) -> DhKey:
        """Return this group's current key, a new one when the last has lived its time."""
        key = self._keys.get(group.name)
        # A clock set back must not keep a key alive beyond its life.
        if key is None or not now < key.expires <= now + self._life:
            key = DhKey(pair=generate(group), expires=now + self._life, signed={})
            self._keys[group.name] = key
        return key

    @staticmethod
    def fresh(group: Group, now: datetime) -> DhKey:
        """Return a key for one reply."""
        return DhKey(pair=generate(group), expires=now + FRESH_KEY_EXPIRATION, signed={})


MAX_KEPT_KEYS = 256  # krbtgt and busy services; one costs about 3 KiB


class LongTermKeys:
    """Long-term keys made ready for use: what is derived from a key once serves every request.

    Owner: the worker. Bound: MAX_KEPT_KEYS; a full memory starts anew.
    """

    def __init__(self) -> None:
        self._ready: dict[tuple[int, bytes], ProtocolKey] = {}

    def ready(self, key: PrincipalKey) -> ProtocolKey:
        """Return the protocol key of an account's key."""
        # Not the PrincipalKey itself: a dataclass computes its hash in the interpreter.
        wanted = (key.etype, key.key)
        found = self._ready.get(wanted)
        if found is None:
            if len(self._ready) >= MAX_KEPT_KEYS:
                self._ready.clear()
            found = self._ready[wanted] = ProtocolKey(EncType(key.etype), key.key)
        return found


@dataclass(slots=True, kw_only=True)
class KdcSigners:
    """The KDC's certificates: RSA, EC or both. With none, PKINIT is not offered (code 16)."""

    rsa: CmsSigner | None = None
    ec: CmsSigner | None = None

    def __bool__(self) -> bool:
        """Tell whether the KDC can sign a PKINIT reply at all."""
        return self.rsa is not None or self.ec is not None


@dataclass(slots=True, kw_only=True)
class Realm:
    """Everything that answers a request besides the request itself."""

    config: KdcConfig
    directory: Directory
    replay: ReplayMemory
    retransmit: RetransmitMemory
    entropy: Entropy
    signers: KdcSigners
    cms_policy: CmsPolicy
    key_policy: KeyPolicy
    device_policy: DevicePolicy
    """Which registered keys need a device object."""
    groups: tuple[Group, ...]
    """Key-agreement groups accepted, most preferred first."""
    dh_keys: DhKeys
    service_keys: LongTermKeys
    """Keys of krbtgt and services; clients' keys are too many and seldom used again."""
    lockout: LockoutPolicy
    passwords: PasswordStore | None = None
    """Where kpasswd writes; None: passwords are not changed here."""
    certificates: CertTrust | None = None
    """What certificate trust rests on; None: the realm has no logon CAs."""
    open_tgts: OpenTgts = field(default_factory=OpenTgts)
    tgt_frames: TgtFrames = field(default_factory=TgtFrames)
    stages: Stages = field(default_factory=Untimed)
    """Who times the stages of a request."""
