"""A ticket's PAC for people and for scripts."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from directory.model import Sid
from kdc.cli.output import iso, read_time
from kdc.crypto.etypes import CHECKSUM_TYPES, ProtocolKey
from kdc.pac import Pac, PacError, PacType, parse_pac, split_ticket, verify_pac
from kdc.pac.buffers import (
    LogonInfo,
    decode_attributes_info,
    decode_client_info,
    decode_delegation_info,
    decode_logon_info,
    decode_requestor,
    decode_upn_dns_info,
)

T = TypeVar("T")

NOT_CHECKED = "not checked: the keytab has no key of krbtgt"


def pac_json(
    enc_ticket_part: bytes, key: ProtocolKey, krbtgt: Sequence[ProtocolKey]
) -> dict[str, object] | None:
    """Show the PAC of a decrypted ticket; None when it has none.

    key: what opened the ticket. krbtgt: keys of krbtgt, to verify the signatures with.
    """
    try:
        found = split_ticket(enc_ticket_part)
        if found.pac is None:
            return None
        pac = parse_pac(found.pac)
        return {**_contents(pac), "signatures": _signatures(pac, key, krbtgt, found.signed)}
    except PacError as error:
        return {"fault": str(error)}


def _contents(pac: Pac) -> dict[str, object]:
    logon = _read(pac, PacType.LOGON_INFO, decode_logon_info)
    client = _read(pac, PacType.CLIENT_INFO, decode_client_info)
    upn = _read(pac, PacType.UPN_DNS_INFO, decode_upn_dns_info)
    delegation = _read(pac, PacType.DELEGATION_INFO, decode_delegation_info)
    return {
        "buffers": [_buffer_name(kind) for kind in pac.buffers],
        "octets": len(pac.raw),
        "logon_info": None if logon is None else _logon_info(logon),
        "client_info": None
        if client is None
        else {"name": client.name, "authtime": iso(client.authtime)},
        "upn_dns_info": None
        if upn is None
        else {
            "upn": upn.upn,
            "dns_domain_name": upn.dns_domain_name,
            "sam_name": upn.sam_name,
            "sid": _text(upn.sid),
            "flags": upn.flags,
        },
        "attributes": _read(pac, PacType.ATTRIBUTES_INFO, decode_attributes_info),
        "requestor": _text(_read(pac, PacType.REQUESTOR, decode_requestor)),
        "delegation": None
        if delegation is None
        else {"target": delegation.proxy_target, "services": list(delegation.transited)},
    }


def _logon_info(info: LogonInfo) -> dict[str, object]:
    return {
        "name": info.effective_name,
        "sid": _text(info.sid),
        "domain": info.domain_name,
        "logon_server": info.logon_server,
        "logon_time": iso(info.logon_time),
        "primary_group_id": info.primary_group_id,
        "group_ids": list(info.group_ids),
        "extra_sids": [str(sid) for sid in info.extra_sids],
        "resource_groups": [str(sid) for sid in info.resource_group_sids],
        "user_account_control": info.user_account_control,
    }


def _read(pac: Pac, kind: PacType, decode: Callable[[bytes], T]) -> T | None:
    data = pac.buffer(kind)
    return None if data is None else decode(data)


def _text(sid: Sid | None) -> str | None:
    return None if sid is None else str(sid)


def _buffer_name(kind: int) -> str:
    try:
        return PacType(kind).name
    except ValueError:
        return str(kind)


def _signatures(pac: Pac, key: ProtocolKey, krbtgt: Sequence[ProtocolKey], signed: bytes) -> str:
    """Say whether the signatures are right, in words."""
    claimed = pac.buffer(PacType.KDC_CHECKSUM) or b""
    fitting = [
        k for k in krbtgt if CHECKSUM_TYPES[k.enctype] == int.from_bytes(claimed[:4], "little")
    ]
    if not fitting:
        return NOT_CHECKED
    is_service_ticket = pac.buffer(PacType.REQUESTOR) is None
    try:
        verify_pac(
            pac,
            server_key=key,
            krbtgt_keys=fitting,
            ticket=signed if is_service_ticket else None,
        )
    except PacError as error:
        return str(error)
    return "all right"


def pac_fields(
    enc_ticket_part: bytes, key: ProtocolKey, krbtgt: Sequence[ProtocolKey]
) -> list[tuple[str, str]]:
    """Show the PAC of a decrypted ticket for people."""
    try:
        found = split_ticket(enc_ticket_part)
        if found.pac is None:
            return [("  PAC", "none")]
        pac = parse_pac(found.pac)
        fields = [("  PAC", ", ".join(_buffer_name(kind) for kind in pac.buffers))]
        logon = _read(pac, PacType.LOGON_INFO, decode_logon_info)
        if logon is not None:
            groups = ", ".join(map(str, logon.group_ids))
            fields += [
                ("    account", f"{logon.domain_name}\\{logon.effective_name}"),
                ("    SID", _text(logon.sid) or "none"),
                ("    logon", read_time(logon.logon_time)),
                ("    groups", f"{groups} (primary {logon.primary_group_id})"),
                ("    more SIDs", ", ".join(map(str, logon.extra_sids)) or "none"),
            ]
        upn = _read(pac, PacType.UPN_DNS_INFO, decode_upn_dns_info)
        if upn is not None:
            fields.append(("    UPN", upn.upn))
        requestor = _read(pac, PacType.REQUESTOR, decode_requestor)
        if requestor is not None:
            fields.append(("    requestor", str(requestor)))
        delegation = _read(pac, PacType.DELEGATION_INFO, decode_delegation_info)
        if delegation is not None:
            chain = " -> ".join((*delegation.transited, delegation.proxy_target))
            fields.append(("    delegation", chain))
        fields.append(("    signatures", _signatures(pac, key, krbtgt, found.signed)))
    except PacError as error:
        return [("  PAC", f"not readable: {error}")]
    return fields
