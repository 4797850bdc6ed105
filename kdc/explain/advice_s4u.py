"""Advice on tickets in another's name: S4U2Self and S4U2Proxy (MS-SFU)."""

from collections.abc import Mapping

from kdc.explain.advice_text import FAULTY, Advice, advice
from kdc.explain.steps import Step

_SHOW = "kdc delegation show {client}        (what this service may do)"
_FORGED = "a ticket that the service itself changed: look at the machine it runs on"
_OLD = "a ticket of another KDC, or of before the realm was made anew"

_SELF: Mapping[str, Advice] = {
    "S4U2Self with an option that it cannot have": advice(
        Step.S4U_REQUEST,
        "A ticket to oneself is not forwarded, proxied, renewed or validated, nor got by S4U2Proxy "
        "in the same request.",
        "MS-SFU 3.1.5.1.1.1",
        FAULTY,
        ("leave the option out: see kdc-options in the tree",),
    ),
    "the checksum of S4U2Self is not of a type that proves anything": advice(
        Step.S4U_REQUEST,
        "PA-FOR-USER has the checksum HMAC-MD5 (-138) or that of the session key's type; "
        "PA-S4U-X509-USER that of the subkey's type.",
        "MS-SFU 2.2.1, 2.2.2; CVE-2018-16860; row T13 (KRB_AP_ERR_INAPP_CKSUM)",
        (
            "somebody on the way put another name and a checksum without a key into the request",
            "a faulty client",
        ),
        ("update the client", "look at the address it came from"),
    ),
    "the checksum of S4U2Self is of another user or key": advice(
        Step.S4U_REQUEST,
        "The checksum covers the user's name, realm and package; its key is the session's.",
        "MS-SFU 2.2.1, 2.2.2; CVE-2018-16860; row T13 (KRB_AP_ERR_MODIFIED)",
        ("the name was changed on its way", "a faulty client"),
        ("update the client", "look at the address it came from"),
    ),
    "PA-S4U-X509-USER was made for another request": advice(
        Step.S4U_REQUEST,
        "The nonce in PA-S4U-X509-USER is that of the request.",
        "MS-SFU 2.2.2 (KRB_AP_ERR_MODIFIED)",
        ("a part of another request, sent again", "a faulty client"),
        ("update the client",),
    ),
    "PA-PAC-OPTIONS is malformed": advice(
        Step.S4U_REQUEST,
        "PA-PAC-OPTIONS holds one bit string.",
        "MS-KILE 2.2.10",
        FAULTY,
        ("update the client",),
    ),
    "S4U2Self is for the service that asks, and no other": advice(
        Step.S4U_USER,
        "A service asks in a user's name for a ticket to itself, by any of its own names.",
        "MS-SFU 3.2.5.1.1; row T13 (KRB_AP_ERR_BADMATCH)",
        (
            "the service logged on with another account than the one that has its name",
            "a service that should use S4U2Proxy to reach another one",
        ),
        ("kdc user show {client}              (its services)", _SHOW),
    ),
    "no user of the name that a service asks for": advice(
        Step.S4U_USER,
        "The user is named by sAMAccountName or UPN, in this realm.",
        "MS-SFU 3.2.5.1.1 (KDC_ERR_C_PRINCIPAL_UNKNOWN)",
        ("a typing error", "a user of another realm", "the user was deleted or renamed"),
        ("kdc user list",),
    ),
    "the certificate of S4U2Self is not readable": advice(
        Step.S4U_USER,
        "subject-certificate holds one X.509 certificate in DER, of at most 16 KiB.",
        "MS-SFU 2.2.2 (KDC_ERR_INVALID_CERTIFICATE)",
        FAULTY,
        ("kdc cert show FILE",),
    ),
    "the key of S4U2Self's certificate is on no account": advice(
        Step.S4U_USER,
        "A certificate names the user on whose account its key is registered.",
        "MS-SFU 3.2.5.1.1; own rule for key trust (KDC_ERR_C_PRINCIPAL_UNKNOWN)",
        ("the user's key was removed", "the certificate is of another realm's user"),
        ("kdc key list", "name the user by UPN in place of the certificate"),
    ),
    "the key of S4U2Self's certificate is on several accounts": advice(
        Step.S4U_USER,
        "A key names one account; one that is on two names nobody.",
        "own rule; row K09 (KDC_ERR_CLIENT_NOT_TRUSTED)",
        ("a key was registered on a second account by mistake, or by an attacker",),
        ("kdc key list                        (where is it?)",),
    ),
    "the certificate of S4U2Self names nobody": advice(
        Step.S4U_USER,
        "A certificate whose key is on no account names a user as it would at a logon: by UPN, "
        "dNSName or id-pkinit-san, or by altSecurityIdentities of an account.",
        "MS-SFU 3.2.5.1.1; MS-PKCA 3.1.5.2.1 (KDC_ERR_C_PRINCIPAL_UNKNOWN)",
        ("a certificate without names that say whose it is", "the user was deleted or renamed"),
        ("kdc cert show FILE                  (its names)", "name the user beside the certificate"),
    ),
    "the certificate maps to several accounts": advice(
        Step.S4U_USER,
        "A certificate stands for one account; one that stands for two names nobody.",
        "MS-PKCA 3.1.5.2.1; row C22 (KDC_ERR_CLIENT_NAME_MISMATCH)",
        ("altSecurityIdentities of two accounts point at one certificate",),
        ("kdc user show NAME                  (who has which?)",),
    ),
    "name and certificate of S4U2Self are not of one account": advice(
        Step.S4U_USER,
        "When a service gives both, name and certificate lead to the same account.",
        "MS-SFU 2.2.2 (KDC_ERR_CLIENT_NAME_MISMATCH)",
        ("the user was renamed", "a faulty client"),
        ("kdc key list", "kdc user list"),
    ),
}

_PROXY: Mapping[str, Advice] = {
    "S4U2Proxy without an evidence ticket": advice(
        Step.EVIDENCE,
        "S4U2Proxy brings the user's ticket to the service as additional ticket.",
        "MS-SFU 3.1.5.2.1 (KDC_ERR_BADOPTION)",
        FAULTY,
        ("update the client",),
    ),
    "the evidence ticket is not for the service that asks": advice(
        Step.EVIDENCE,
        "The evidence is a ticket for the account whose TGT is shown.",
        "MS-SFU 3.2.5.2; row T12 (KDC_ERR_BADOPTION)",
        (
            "the service's keytab is of one account and its service name of another",
            "a ticket that was got from another service",
        ),
        ("kdc user show {client}              (its services)", "kdc service list"),
    ),
    "the evidence ticket is sealed with a key that the service has not": advice(
        Step.EVIDENCE,
        "The evidence is sealed with one of the long-term keys of the service.",
        "RFC 4120 3.3.3 (KRB_AP_ERR_BADKEYVER)",
        ("the service's keys were changed twice since", "a ticket of user to user"),
        ("let the user get a new ticket for the service",),
    ),
    "the evidence ticket is sealed with a type that the service has not": advice(
        Step.EVIDENCE,
        "The evidence is sealed with an encryption type that the service has a key of.",
        "RFC 4120 3.3.3 (KDC_ERR_ETYPE_NOSUPP)",
        (_OLD,),
        ("let the user get a new ticket for the service",),
    ),
    "the evidence ticket does not open with the service's key": advice(
        Step.EVIDENCE,
        "The evidence opens with the key of the service that it names.",
        "RFC 4120 3.3.3 (KRB_AP_ERR_BAD_INTEGRITY)",
        ("a ticket for another service under this one's name", _OLD),
        ("let the user get a new ticket for the service",),
    ),
    "the evidence ticket's client is of another realm": advice(
        Step.EVIDENCE,
        "The evidence speaks for a user of this realm: there are no trusts.",
        "MS-SFU 3.2.5.2 (KDC_ERR_PATH_NOT_ACCEPTED)",
        (_FORGED,),
        ("look at the machine the request came from",),
    ),
    "the evidence ticket is not valid yet": advice(
        Step.EVIDENCE,
        "The evidence is valid now.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_TKT_NYV)",
        ("the clock of this KDC, or of the one that issued it, is wrong",),
        ("set the clocks: chrony or ntpd",),
    ),
    "the evidence ticket has expired": advice(
        Step.EVIDENCE,
        "The evidence is valid now, and no longer than max_life from its start.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_TKT_EXPIRED)",
        ("the user's session at the service is older than the ticket",),
        ("let the user log on to the service again",),
    ),
    "the evidence ticket has no PAC": advice(
        Step.EVIDENCE,
        "Only the signatures in its PAC tell the KDC's own ticket from one the service made.",
        "CVE-2020-17049; row T12 (KRB_AP_ERR_MODIFIED)",
        (
            "a realm with pac = false: it has no S4U2Proxy",
            "the user's client asks for tickets without PAC",
            "the service's account wants none: no-auth-data-required",
            _FORGED,
        ),
        ("kdc config show --origin            (pac)",),
    ),
    "the evidence ticket is of an account that is not there": advice(
        Step.S4U_USER,
        "The evidence speaks for the account that has its client's name and SID today.",
        "CVE-2021-42287; MS-SFU 3.2.5.2 (KDC_ERR_TGT_REVOKED)",
        ("the user was deleted, renamed or made again since",),
        ("kdc user list", "let the user log on again"),
    ),
    "the evidence ticket is not forwardable": advice(
        Step.S4U_USER,
        "Only a forwardable ticket may be used to act for its user.",
        "MS-SFU 3.2.5.2.3; row T12 (KDC_ERR_BADOPTION, STATUS_ACCOUNT_RESTRICTION)",
        (
            "the service got it by S4U2Self and is not trusted for any protocol",
            "the user may not be delegated",
            "the user's TGT, or the request for this ticket, was without forwardable",
        ),
        (_SHOW, "kdc delegation for-any-protocol {client} on", "kinit -f, or forwardable = true"),
    ),
    "the user may not be delegated": advice(
        Step.S4U_USER,
        "Nobody acts for an account that is marked so, or that is in Protected Users.",
        "MS-SFU 3.2.5.2; MS-KILE 3.3.5.1 (KDC_ERR_BADOPTION, STATUS_ACCOUNT_RESTRICTION)",
        ("the account is an administrator's and is protected on purpose",),
        ("let the user log on to that service directly", "kdc user list"),
    ),
    "the service may not delegate to any other": advice(
        Step.DELEGATION,
        "The service asked for stands in msDS-AllowedToDelegateTo of the one that asks.",
        "MS-SFU 3.2.5.2.1 (KDC_ERR_BADOPTION, STATUS_NOT_SUPPORTED)",
        ("delegation was not set up", "a client that does not know resource-based delegation"),
        (_SHOW, "kdc delegation add-service {client} {service}"),
    ),
    "the service may not delegate to the one asked for": advice(
        Step.DELEGATION,
        "The service asked for stands in msDS-AllowedToDelegateTo of the one that asks, by exactly "
        "the name that is asked for.",
        "MS-SFU 3.2.5.2.1 (KDC_ERR_BADOPTION, STATUS_NO_MATCH)",
        ("another name of the same service is in the list: short or long host, other class",),
        (_SHOW, "kdc delegation add-service {client} {service}"),
    ),
    "neither service has the delegation in its list": advice(
        Step.DELEGATION,
        "The one that asks lists the service asked for, or that one lets it act.",
        "MS-SFU 3.2.5.2.1, 3.2.5.2.3 (KDC_ERR_BADOPTION, STATUS_NOT_FOUND)",
        ("delegation was not set up",),
        (
            _SHOW,
            "kdc delegation add-service {client} {service}",
            "kdc delegation add-principal {service} {client}",
        ),
    ),
    "the service asked for does not let this one act for others": advice(
        Step.DELEGATION,
        "msDS-AllowedToActOnBehalfOfOtherIdentity of the service asked for grants the one that "
        "asks, or a group of its, the right to act.",
        "MS-SFU 3.2.5.2.3; MS-DTYP 2.5.3.2 (KDC_ERR_BADOPTION, STATUS_NOT_FOUND)",
        ("another service is allowed, and this one is not", "an entry denies it"),
        ("kdc delegation show {service}", "kdc delegation add-principal {service} {client}"),
    ),
    "the list of services that may act for others is not readable": advice(
        Step.DELEGATION,
        "msDS-AllowedToActOnBehalfOfOtherIdentity holds a self-relative security descriptor.",
        "MS-DTYP 2.4.6; own rule: what is not read grants nothing",
        ("the attribute was written by hand, or by a faulty tool",),
        ("kdc delegation show {service}", "clear the attribute and set it anew"),
    ),
    "too many services in a chain of delegation": advice(
        Step.DELEGATION,
        "The PAC lists every service in between, 64 at most.",
        "MS-PAC 2.9; own bound",
        ("services that delegate to each other in a circle",),
        (_SHOW,),
    ),
    "the service's account allows no type that it has a key of": advice(
        Step.SEALING_KEY,
        "A ticket is sealed with a type that msDS-SupportedEncryptionTypes of its service names.",
        "MS-KILE 3.3.5.7, 2.2.7 (KDC_ERR_ETYPE_NOSUPP)",
        (
            "the attribute names RC4 or DES only",
            "the service's keys were made before AES was named there",
        ),
        ("kdc keytab rotate {service}", "name AES in the attribute: 24, or 0 for every type"),
    ),
}

S4U_ADVICE: Mapping[str, Advice] = {**_SELF, **_PROXY}
