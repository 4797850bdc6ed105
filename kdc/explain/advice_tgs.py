"""Advice on the TGS exchange: the TGT that is shown, its authenticator, and what it may get."""

from collections.abc import Mapping

from kdc.explain.advice_text import FAULTY, SET_CLOCKS, SHOW_ACCOUNT, Advice, advice
from kdc.explain.steps import Step
from kdc.pac import PacFault

_LOG_ON_AGAIN = "log on again: kinit, or kdc logon {client}"
_FORGED = (
    "a ticket made by somebody who has, or guessed at, a key of krbtgt: look at where it came from"
)

TGS_ADVICE: Mapping[str, Advice] = {
    "a TGS-REQ has one PA-TGS-REQ, with its ticket": advice(
        Step.AP_REQ,
        "A TGS-REQ brings its ticket and authenticator in one PA-TGS-REQ.",
        "RFC 4120 3.3.1, 5.2.7.1",
        FAULTY,
        ("update the client",),
    ),
    "the AP-REQ's version is not 5": advice(
        Step.AP_REQ, "pvno of the AP-REQ is 5.", "RFC 4120 5.5.1", FAULTY, ("update the client",)
    ),
    "the ticket's version is not 5": advice(
        Step.TGT_NAME, "tkt-vno is 5.", "RFC 4120 5.3", FAULTY, ("update the client",)
    ),
    "the ticket is not a TGT of this realm": advice(
        Step.TGT_NAME,
        "The ticket shown is for krbtgt of this realm: no other opens a ticket-granting service.",
        "RFC 4120 3.3.2; row T10",
        (
            "a credential cache of another realm, or of this one before it was made anew",
            "a service ticket shown where a TGT belongs",
        ),
        ("kdestroy, then log on again", "klist (which TGT does the client have?)"),
    ),
    "the TGT is sealed with a krbtgt key that is not kept": advice(
        Step.TGT_OPENS,
        "A TGT is sealed with one of the krbtgt keys that are kept: the current ones and the last.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_BADKEYVER); row T09",
        ("the krbtgt keys were changed twice since the logon", "the realm was made anew"),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT is sealed with a type that krbtgt has not": advice(
        Step.TGT_OPENS,
        "A TGT is sealed with an encryption type that krbtgt has a key of.",
        "RFC 4120 3.3.2",
        ("supported_enctypes and the krbtgt keys were changed since the logon", _FORGED),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT does not open with the krbtgt key": advice(
        Step.TGT_OPENS,
        "The TGT opens with the krbtgt key that it names.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_BAD_INTEGRITY); row T08",
        (
            "a TGT of another realm of the same name: a lab that was made anew",
            "a ticket changed on its way",
            _FORGED,
        ),
        ("kdestroy, then log on again",),
    ),
    "the TGT's session key is of a type we do not use": advice(
        Step.TGT_OPENS,
        "Session keys are of an AES type.",
        "RFC 4120 3.3.2; RFC 8429",
        (_FORGED,),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT's client is of another realm": advice(
        Step.TGT_VALID,
        "The client of a TGT is of this realm: there are no trusts.",
        "RFC 4120 3.3.3.2 (KDC_ERR_PATH_NOT_ACCEPTED)",
        (_FORGED,),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT is marked invalid": advice(
        Step.TGT_VALID,
        "A postdated ticket is validated before it is used.",
        "RFC 4120 2.4",
        ("a TGT of another KDC that issues postdated tickets",),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT is not valid yet": advice(
        Step.TGT_VALID,
        "The start of a TGT lies at most clockskew ahead.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_TKT_NYV)",
        ("the clock of this KDC, or of the one that issued the TGT, is wrong",),
        SET_CLOCKS,
    ),
    "the TGT has expired": advice(
        Step.TGT_VALID,
        "A TGT is good until its end, and no longer than max_life from its start.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_TKT_EXPIRED); kdc.toml",
        ("the logon was too long ago", "max_life was shortened since", _FORGED),
        (_LOG_ON_AGAIN, "kdc config show --origin           (max_life)"),
    ),
    "the authenticator does not open with the session key": advice(
        Step.AUTH_OPENS,
        "The authenticator opens with the session key inside the TGT.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_BAD_INTEGRITY)",
        (
            "a ticket without its session key: copied, or stolen on the network",
            "a broken credential cache",
        ),
        ("kdestroy, then log on again", "if it happens again, look at the address it came from"),
    ),
    "the authenticator's version is not 5": advice(
        Step.AUTH_CLIENT,
        "authenticator-vno is 5.",
        "RFC 4120 5.5.1",
        FAULTY,
        ("update the client",),
    ),
    "authenticator and ticket name different clients": advice(
        Step.AUTH_CLIENT,
        "crealm and cname of the authenticator are those of the ticket.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_BADMATCH); row T15",
        ("a client that does not take its name from the AS-REP when it is canonicalized", "a test"),
        ("update the client",),
    ),
    "the authenticator has no checksum of the request": advice(
        Step.AUTH_BODY,
        "The authenticator has a checksum of the request's body: without it, it could be moved to "
        "another request.",
        "RFC 4120 3.3.1, 3.3.2; row T15; switch legacy_tgs_checksum",
        ("a tool of the impacket family",),
        (
            "kdc config show --origin           (compat, legacy_*)",
            "for a lab with such tools, in kdc.toml: legacy_tgs_checksum = true; or "
            'compat = "tools"',
            "then make the server read it: $ kill -HUP its pid",
        ),
    ),
    "the authenticator's checksum is not of the session key's type": advice(
        Step.AUTH_BODY,
        "The checksum is keyed with the session key, of the type that goes with it: an unkeyed one "
        "proves nothing.",
        "RFC 4120 3.3.1; CVE-2018-16860 class; row T06",
        ("a client that uses MD5 or CRC-32, or RC4's checksum with an AES key",),
        ("update the client",),
    ),
    "the authenticator was made for another request": advice(
        Step.AUTH_BODY,
        "The checksum is that of the KDC-REQ-BODY, byte for byte as it was sent.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_MODIFIED)",
        (
            "something between client and KDC changed the request",
            "the client encodes the body twice, not the same way each time",
        ),
        ("compare req-body in the tree with what the client was asked for",),
    ),
    "the authenticator is outside the clock skew": advice(
        Step.AUTH_CLOCK,
        "The authenticator's time and the KDC's clock differ by no more than clockskew.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_SKEW)",
        (
            "the client's clock was changed after the logon, or runs wrong since",
            "an old request, sent again",
        ),
        SET_CLOCKS,
    ),
    "the authenticator is older than the replay memory": advice(
        Step.AUTH_MEMORY,
        "An authenticator from before the start of the replay memory cannot be told from a replay.",
        "RFC 4120 3.2.3; own rule for a new or full memory",
        (
            "replay.map is new (first start, or it was removed) and the client's clock is behind",
            "a flood has filled the memory",
        ),
        ("try again: after clockskew this passes by itself", *SET_CLOCKS[:1]),
    ),
    "a ticket or authenticator made for FAST armor only": advice(
        Step.AUTH_ARMOR,
        "What carries AD-fx-fast-armor armors a FAST request and is good for nothing else.",
        "RFC 6113 5.4.1.1",
        FAULTY,
        ("update the client",),
    ),
    "the ticket is for another address": advice(
        Step.AUTH_ADDRESS,
        "A ticket that names IP addresses is used from one of them.",
        "RFC 4120 3.3.2 (KRB_AP_ERR_BADADDR)",
        ("address translation between client and KDC", "a ticket taken to another machine"),
        ("ask for tickets without addresses: noaddresses = true in krb5.conf (the default)",),
    ),
    "the authenticator's subkey is of a type we do not use": advice(
        Step.AUTH_SUBKEY,
        "A subkey is of an AES type.",
        "RFC 4120 5.5.1; RFC 8429",
        ("a client that makes RC4 subkeys",),
        ("allow AES on the client: 18, 17, 20 or 19",),
    ),
    "the authorization data do not open": advice(
        Step.AUTH_DATA,
        "enc-authorization-data is sealed with the subkey, or with the session key without one.",
        "RFC 4120 5.4.1",
        FAULTY,
        ("update the client",),
    ),
    "an option for tickets that are not issued is set": advice(
        Step.TGS_OPTIONS,
        "Postdated and anonymous tickets are not offered.",
        "RFC 4120 3.3.3; RFC 8062",
        ("kinit -s or -n",),
        ("leave the option out: see kdc-options in the tree",),
    ),
    "the TGT's flags do not allow what is asked for": advice(
        Step.TGS_OPTIONS,
        "Forwarding, proxying, renewing and validating need the flag of that name in the TGT.",
        "RFC 4120 3.3.3; row T16",
        ("kinit -R, or ssh -K, with a TGT that was not asked for as renewable or forwardable",),
        ("log on again: kinit -f for forwardable, kinit -r 7d for renewable",),
    ),
    "options that exclude each other": advice(
        Step.TGS_OPTIONS,
        "One of forwarded, proxy, renew and validate at a time, and none with a second ticket; the "
        "second ticket is for user to user or for S4U2Proxy.",
        "RFC 4120 3.3.3; MS-SFU 3.2.5.2",
        FAULTY,
        ("update the client",),
    ),
    "the TGT's account does not exist any more": advice(
        Step.REQUESTER,
        "Every ticket is asked for by an account that is there, under exactly the TGT's name.",
        "CVE-2021-42278; rows T04, T08 (KDC_ERR_TGT_REVOKED)",
        ("the account was deleted or renamed after the logon", _FORGED),
        ("kdc user list", _LOG_ON_AGAIN),
    ),
    "the TGT's PAC has no requestor": advice(
        Step.REQUESTER,
        "A TGT's PAC says in PAC_REQUESTOR whose SID it was issued to.",
        "MS-PAC 2.15; CVE-2021-42287; row T02 (KDC_ERR_TGT_REVOKED)",
        (_FORGED,),
        (_LOG_ON_AGAIN,),
    ),
    "the TGT was issued to another account of this name": advice(
        Step.REQUESTER,
        "The SID in the TGT's PAC is that of the account that has its name today.",
        "CVE-2021-42287; row T03 (KDC_ERR_TGT_REVOKED)",
        ("the account was deleted and made again, or renamed, after the logon", _FORGED),
        (SHOW_ACCOUNT, _LOG_ON_AGAIN),
    ),
    "the TGT has no PAC": advice(
        Step.TGT_CURRENT,
        "In a realm with PACs, the TGT of an account with a SID has one.",
        "CVE-2020-25719; row T01 (KDC_ERR_TGT_REVOKED)",
        ("a TGT of before pac = true in kdc.toml", _FORGED),
        (_LOG_ON_AGAIN, "kdc config show --origin           (pac)"),
    ),
    "the keys of a key-trust logon were removed since": advice(
        Step.TGT_CURRENT,
        "A TGT that was got with a registered key ends with the last key of its account.",
        "own rule; row T20 (KDC_ERR_TGT_REVOKED)",
        ("the key was taken from the account: a lost device, or an administrator's clean-up",),
        ("kdc key list {client}", "kdc key enroll {client} --out {client}.pem     (a new key)"),
    ),
    "the account is younger than the TGT": advice(
        Step.TGT_CURRENT,
        "A TGT speaks for the account it was issued to, not for another of the same name.",
        "CVE-2021-42287; row T03 (KDC_ERR_TGT_REVOKED)",
        ("the account was deleted and made again after the logon", _FORGED),
        (SHOW_ACCOUNT, _LOG_ON_AGAIN),
    ),
    "there is no trust to the realm asked for": advice(
        Step.SERVICE,
        "krbtgt of another realm needs a trust to that realm, and there are none.",
        "RFC 4120 3.3.1; row A10",
        (
            "the client maps the service's host to another realm: [domain_realm] of its krb5.conf",
            "a host name outside this realm's domain",
        ),
        ("add the domain to [domain_realm] of the client's krb5.conf", "kdc service list"),
    ),
    "a TGT is neither proxied, user to user nor delegated": advice(
        Step.TGT_ASKED,
        "PROXY, ENC-TKT-IN-SKEY and CNAME-IN-ADDL-TKT are for service tickets.",
        "RFC 4120 3.3.3; MS-SFU 3.2.5.2",
        FAULTY,
        ("leave the option out: see kdc-options in the tree",),
    ),
    "the client brings authorization data outside AD-IF-RELEVANT": advice(
        Step.BROUGHT,
        "A client's own authorization data stand inside AD-IF-RELEVANT.",
        "RFC 4120 5.2.6; own rule",
        FAULTY,
        ("update the client",),
    ),
    "the client brings authorization data that only a KDC may make": advice(
        Step.BROUGHT,
        "No PAC, no AD-KDC-ISSUED and no authentication indicator comes from a client.",
        "MS14-068; RFC 4120 5.2.6",
        ("an attempt to become somebody else by a forged PAC", "a test"),
        ("look at the address it came from",),
    ),
    "a user who is no service: user to user only": advice(
        Step.SEALING_KEY,
        "A ticket for a user without service names is sealed with the session key of that user's "
        "TGT: one sealed with the password's key would let anybody guess the password.",
        "RFC 4120 3.7; MS-KILE (KDC_ERR_MUST_USE_USER2USER)",
        ("the service runs as a user account that has no service principal name",),
        (
            "kdc service add HTTP/web.lab.test   (an account of its own for the service)",
            "or let the client use user to user",
        ),
    ),
    "user to user without a second ticket": advice(
        Step.SEALING_KEY,
        "User to user brings the TGT of the other user as additional ticket.",
        "RFC 4120 3.3.3, 3.7",
        FAULTY,
        ("update the client",),
    ),
    "the second ticket is not of the service asked for": advice(
        Step.SEALING_KEY,
        "The second ticket of user to user is a TGT of the very account that is asked for.",
        "RFC 4120 3.3.3; row T14 (KRB_AP_ERR_BADMATCH)",
        ("sname and the other user's TGT do not belong together", "a test"),
        ("ask for the name that the other user's TGT has",),
    ),
    "only a TGT is renewed or validated, as itself": advice(
        Step.TIMES,
        "What is renewed or validated is the TGT that is shown.",
        "RFC 4120 3.3.3 (KDC_ERR_SERVER_NOMATCH)",
        ("a client that tries to renew a service ticket",),
        ("renew the TGT (kinit -R), then ask for the service again",),
    ),
    "the TGT's renewable life is over": advice(
        Step.TIMES,
        "A TGT is renewed until renew-till, and no longer than max_renewable_life from the logon.",
        "RFC 4120 2.3, 3.3.3; kdc.toml",
        ("the logon was too long ago", "max_renewable_life was shortened since"),
        (_LOG_ON_AGAIN, "kdc config show --origin           (max_renewable_life)"),
    ),
    "the authenticator was used before": advice(
        Step.AUTH_REPLAY,
        "An authenticator is good once. The identical packet within a minute is a retransmission "
        "and gets its answer again.",
        "RFC 4120 3.2.3 (KRB_AP_ERR_REPEAT)",
        ("a request that somebody recorded and sent again", "a client without microseconds"),
        ("try again", "if it happens again, look at the address it came from"),
    ),
}

PAC_ADVICE: Mapping[str, Advice] = {
    fault.value: advice(
        Step.TGT_PAC,
        "The PAC in a ticket is one that this realm made: whole, and each signature right.",
        "MS-PAC 2.8; MS-KILE 3.3.5.7; rows T05 to T07, T18",
        ("a ticket of before a change of the krbtgt keys, or of another KDC's making", _FORGED),
        (_LOG_ON_AGAIN, "if it happens again, look at the address it came from"),
    )
    for fault in PacFault
}
