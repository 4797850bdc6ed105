"""Advice on partial TGTs of read-only DCs and the cloud, and on key lists."""

from collections.abc import Mapping

from kdc.explain.advice_text import FAULTY, SHOW_ACCOUNT, Advice, advice
from kdc.explain.steps import Step

_SHOW = "kdc cloud-trust show                (numbers, keys, links and both lists)"
_EXPORT = "kdc cloud-trust export-key -o F     (give the key of today to the cloud or lab anew)"
_ANEW = "kdc cloud-trust delete --number N, then create: both sides anew"
_ORDER = "MS-KILE 3.3.5.7; MS-DRSR 4.1.10.5.14"

CLOUD_ADVICE: Mapping[str, Advice] = {
    "no read-only DC has the number in the TGT's kvno": advice(
        Step.TGT_OPENS,
        "The upper half of a TGT's kvno names the read-only DC, or the cloud, whose krbtgt key "
        "seals it; a krbtgt account has that number as msDS-SecondaryKrbTgtNumber.",
        "MS-KILE 3.1.5.8; row X01 (KDC_ERR_S_PRINCIPAL_UNKNOWN)",
        (
            "the cloud's objects were deleted, or made anew under another number",
            "a ticket of another domain's cloud trust",
            "somebody is trying numbers",
        ),
        (_SHOW, _EXPORT),
    ),
    "the TGT does not open with a key of its read-only DC": advice(
        Step.TGT_OPENS,
        "One of the keys of the number's krbtgt account opens the ticket: the newest, or the one "
        "before it until the next rotation.",
        "RFC 4120 3.2.3; row X07 (KRB_AP_ERR_BAD_INTEGRITY)",
        (
            "the key was rotated twice since the ticket was made",
            "the cloud still has an old key",
            "a forged ticket",
        ),
        (_SHOW, _EXPORT),
    ),
    "no account of the partial TGT's client name": advice(
        Step.REQUESTER,
        "The client's name in a partial TGT is the sAMAccountName of an account, exactly.",
        f"{_ORDER}; CVE-2021-42278 (KDC_ERR_C_PRINCIPAL_UNKNOWN)",
        (
            "the account was deleted or renamed and the cloud does not know yet",
            "the user is synchronized from another domain",
        ),
        (SHOW_ACCOUNT, "let the synchronization with the cloud run"),
    ),
    "the partial TGT's name and SID are not of one account": advice(
        Step.REQUESTER,
        "Name, REQUESTOR and LOGON_INFO of a partial TGT are of one account.",
        "MS-KILE 3.3.5.7; CVE-2021-42287; row X06 (KDC_ERR_TGT_REVOKED)",
        (
            "the account was deleted and made anew: it has another SID, which the cloud does not "
            "know yet",
            "a forged ticket",
        ),
        (SHOW_ACCOUNT, "let the synchronization with the cloud run"),
    ),
    "no one computer links to the read-only DC's krbtgt": advice(
        Step.REQUESTER,
        "Exactly one computer account names the krbtgt account in msDS-KrbTgtLink.",
        "MS-ADTS 6.1.1.3.2; row X02 (KDC_ERR_POLICY)",
        ("the computer object was deleted, or its link changed",),
        (_SHOW, _ANEW),
    ),
    "the computer of the read-only DC has not the flag of one": advice(
        Step.REQUESTER,
        "The computer account has UF_PARTIAL_SECRETS_ACCOUNT in userAccountControl.",
        "MS-ADTS 2.2.16, 6.1.1.3.2; row X02 (KDC_ERR_POLICY)",
        ("somebody changed userAccountControl of the computer object",),
        (_SHOW, _ANEW),
    ),
    "no read-only DC speaks for krbtgt or a domain controller": advice(
        Step.REQUESTER,
        "A partial TGT is never of a krbtgt account or a domain controller, whatever the lists "
        "say.",
        f"{_ORDER}; row X04 (KDC_ERR_TGT_REVOKED)",
        ("an attack with a stolen key of the cloud trust",),
        (
            "kdc cloud-trust rotate, twice      (ends every ticket under the stolen key)",
            "look at the address it came from",
        ),
    ),
    "the account is in the list that the read-only DC is denied": advice(
        Step.REQUESTER,
        "Nobody gets a full TGT for a partial one who is in msDS-NeverRevealGroup of the computer "
        "object, himself or by any group; this list goes before the other.",
        f"{_ORDER}; rows X03, X04 (KDC_ERR_TGT_REVOKED)",
        (
            "an administrator: privileged accounts log on without the cloud",
            "a group in which the account is by way of others is in the list",
        ),
        (_SHOW, SHOW_ACCOUNT, "log on with a key or certificate of this domain"),
    ),
    "the account is marked as privileged (adminCount)": advice(
        Step.REQUESTER,
        "An account with adminCount = 1 is, or was, in a privileged group.",
        "MS-ADTS 3.1.1.6.1.2; own rule: cloud_trust.deny_admin_count; row X04",
        (
            "an administrator",
            "a former one: the mark stays until somebody takes it off",
        ),
        (
            SHOW_ACCOUNT,
            "take the mark off an account that is not privileged any more",
            "cloud_trust.deny_admin_count = false leaves it to the lists, as Windows does",
        ),
    ),
    "the read-only DC's deny list names what is not there": advice(
        Step.REQUESTER,
        "Each DN in msDS-NeverRevealGroup leads to a group or an account: else those it meant "
        "could not be told from others.",
        "own rule (KDC_ERR_POLICY)",
        (
            "a group in the list was deleted or renamed",
            "the group lies outside what this KDC reads of the directory, or cannot be read",
        ),
        (_SHOW, "kdc directory status                (entries that cannot be read)"),
    ),
    "the account is not in the list that the read-only DC is allowed": advice(
        Step.REQUESTER,
        "Who gets a full TGT for a partial one is in msDS-RevealOnDemandGroup of the computer "
        "object, himself or by any group; the primary group counts.",
        f"{_ORDER}; row X03 (KDC_ERR_TGT_REVOKED)",
        ("the account is no member of Domain Users, or of the group that was named",),
        (_SHOW, "kdc group member-add GROUP {client}"),
    ),
    "S4U2Self with a TGT of a read-only DC": advice(
        Step.S4U_USER,
        "A service that speaks for users does so with a TGT of this KDC, as in Windows.",
        "row X09 (KDC_ERR_C_PRINCIPAL_UNKNOWN)",
        ("a service that logged on at a read-only DC or the cloud",),
        ("let the service ask for krbtgt first: its full TGT is good for S4U2Self",),
    ),
    "a read-only DC's TGT armors nothing": advice(
        Step.AUTH_ARMOR,
        "Who holds the key of a read-only DC, or of the cloud, could read what its armor hides.",
        "row X09; own rule (KDC_ERR_TGT_REVOKED): Windows takes it of accounts that are allowed",
        ("the armor is a TGT that a read-only DC or the cloud issued, never shown here",),
        ("let the host ask for krbtgt first: its full TGT is good as armor",),
    ),
    "KERB-KEY-LIST-REQ is malformed": advice(
        Step.TGS_OPTIONS,
        "KERB-KEY-LIST-REQ is a list of at most 32 encryption types.",
        "MS-KILE 2.2.11",
        FAULTY,
        ("update the client",),
    ),
}
