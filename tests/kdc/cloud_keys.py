"""Keys of the cloud: a realm's trust with it, and OpenSSL's derivation from a PRT's session key."""

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.kbkdf import KBKDFHMAC, CounterLocation, Mode

from directory.model import Sid
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.formats.cloud_key import CloudKey

DOMAIN_SID = Sid.parse("S-1-5-21-1-2-3")
CLOUD_KEY = CloudKey(
    realm="LAB.TEST",
    domain="lab.test",
    netbios="LAB",
    domain_sid=DOMAIN_SID,
    number=40000,
    kvno=3,
    key=ProtocolKey(EncType(18), bytes(range(32))),
)


def derived_key(session_key: bytes, context: bytes) -> bytes:
    """Derive a key with OpenSSL (SP 800-108, MS-OAPXBC 3.1.5.1.3.3)."""
    kdf = KBKDFHMAC(
        algorithm=hashes.SHA256(),
        mode=Mode.CounterMode,
        length=32,
        rlen=4,
        llen=4,
        location=CounterLocation.BeforeFixed,
        label=b"AzureAD-SecureConversation",
        context=context,
        fixed=None,
    )
    return kdf.derive(session_key)
