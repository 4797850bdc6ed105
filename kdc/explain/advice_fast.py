"""Advice on FAST (RFC 6113): the armor, the tunnel, the encrypted challenge and the cookie."""

from collections.abc import Mapping

from kdc.explain.advice_text import (
    FAULTY,
    MALFORMED_CAUSES,
    NO_PASSWORD_KEY_CAUSES,
    NO_PASSWORD_KEY_FIXES,
    WRONG_PASSWORD_CAUSES,
    WRONG_PASSWORD_FIXES,
    Advice,
)
from kdc.explain.steps import Step

_UPDATE = ("update the client",)
_CHANGED = ("the request was changed on its way", "a faulty client", "a test")
_NEW_ARMOR = "get a new armor: kinit -k for the host, then kinit -T its cache {client}"

FAST_ADVICE: Mapping[str, Advice] = {
    # -- the armor ---------------------------------------------------------------------------
    "PA-FX-FAST twice": Advice(
        step=Step.FAST_REQUEST,
        rule="A request has one PA-FX-FAST: with two, which armor is meant?",
        source="RFC 6113 5.4.2; own rule",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    "a FAST AS-REQ without an armor": Advice(
        step=Step.FAST_REQUEST,
        rule="In an AS-REQ the armor field MUST be present: there is no other key yet.",
        source="RFC 6113 5.4.2",
        causes=FAULTY,
        fixes=(_NEW_ARMOR, *_UPDATE),
    ),
    "the FAST armor is of an unknown type": Advice(
        step=Step.FAST_REQUEST,
        rule="The one armor-type there is, is FX_FAST_ARMOR_AP_REQUEST (1).",
        source="RFC 6113 5.4.1",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    "the FAST armor's authenticator has no subkey": Advice(
        step=Step.FAST_SUBKEY,
        rule="The client has its share in the armor key: the subkey MUST be present.",
        source="RFC 6113 5.4.1.1; MIT answers 12",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    "a FAST TGS-REQ without a subkey": Advice(
        step=Step.FAST_SUBKEY,
        rule="A subkey MUST be in the PA-TGS-REQ's authenticator: the armor key is made of it.",
        source="RFC 6113 5.4.2",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    "the client used FAST, and the request has none": Advice(
        step=Step.AUTH_ARMOR,
        rule="AD-fx-fast-used says that the client sent FAST: a request without has lost it.",
        source="RFC 6113 5.4.2 (KRB_AP_ERR_MODIFIED)",
        causes=("somebody between client and KDC took PA-FX-FAST out", "a proxy", "a test"),
        fixes=("look at the way between client and KDC",),
    ),
    # -- the tunnel --------------------------------------------------------------------------
    "enc-fast-req does not open with the armor key": Advice(
        step=Step.FAST_OPENS,
        rule="The request inside is sealed with the armor key.",
        source="RFC 6113 5.4.2; MIT answers 31",
        causes=_CHANGED,
        fixes=(_NEW_ARMOR,),
    ),
    "the req-checksum is not of the armor key's type": Advice(
        step=Step.FAST_BOUND,
        rule="The req-checksum is of the armor key's own type, which is a keyed one.",
        source="RFC 6113 5.4.2; MIT answers 12",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    "the FAST request was made for another outer request": Advice(
        step=Step.FAST_BOUND,
        rule="The req-checksum covers the outer body, in a TGS-REQ the AP-REQ, as it was sent.",
        source="RFC 6113 5.4.2; MIT answers 41",
        causes=_CHANGED,
        fixes=("log on again; if it stays, update the client",),
    ),
    "a critical FAST option that we do not know": Advice(
        step=Step.FAST_OPTIONS,
        rule="fast-options 1 to 15 are critical; known is hide-client-names (1).",
        source="RFC 6113 5.4.2 (KDC_ERR_UNKNOWN_CRITICAL_FAST_OPTIONS)",
        causes=("a client of a later document than this KDC", "a test"),
        fixes=("look at fast_options above: which bit is it?",),
    ),
    "FAST inside FAST": Advice(
        step=Step.FAST_OPTIONS,
        rule="There is one tunnel: the request inside has no PA-FX-FAST.",
        source="RFC 6113 5.4.5; own rule",
        causes=FAULTY,
        fixes=_UPDATE,
    ),
    # -- the cookie --------------------------------------------------------------------------
    "the FX-COOKIE is not one of ours": Advice(
        step=Step.FAST_COOKIE,
        rule="What begins like a cookie of ours opens with a krbtgt key.",
        source="RFC 6113 5.2",
        causes=("a cookie that was changed", "a realm that was made anew", "a test"),
        fixes=("log on again",),
    ),
    "the FX-COOKIE is sealed with an unknown key": Advice(
        step=Step.FAST_COOKIE,
        rule="A cookie is sealed with one of the krbtgt keys that are kept.",
        source="RFC 6113 5.2 (KDC_ERR_PREAUTH_EXPIRED)",
        causes=("the krbtgt keys were changed since the first message", "another KDC's state"),
        fixes=("log on again: the client starts anew by itself",),
    ),
    "the FX-COOKIE is another client's": Advice(
        step=Step.FAST_COOKIE,
        rule="A cookie belongs to one conversation, and so to one client name.",
        source="RFC 6113 5.2",
        causes=("a client that changes its name between two messages", "a test"),
        fixes=("log on again", *_UPDATE),
    ),
    "the FX-COOKIE has expired": Advice(
        step=Step.FAST_COOKIE,
        rule="A conversation lasts ten minutes, then it begins anew.",
        source="RFC 6113 5.2 (KDC_ERR_PREAUTH_EXPIRED); MIT's ten minutes",
        causes=("a password prompt that was left open", "the KDCs' clocks differ"),
        fixes=("log on again: most clients do so by themselves",),
    ),
    # -- the password ------------------------------------------------------------------------
    "a user's password is taken inside FAST only (require_fast)": Advice(
        step=Step.PASSWORD_ALLOWED,
        rule="With require_fast a user proves a password by an encrypted challenge, inside FAST.",
        source="RFC 6113 5.4.6; own switch",
        causes=(
            "a client that has no armor: its host has no TGT, or it was not told where",
            "a client that does not know FAST",
        ),
        fixes=(
            "MIT: kinit -T FILE:/path/of/the/hosts/cache {client}",
            "kdc logon {client} --password-prompt --armor CACHE",
            "or, in kdc.toml: require_fast = false",
        ),
    ),
    "the account has no password key of these types": Advice(
        step=Step.TS_ETYPE,
        rule="The account has a long-term key of one of the request's types.",
        source="RFC 6113 5.4.6; RFC 4120 3.1.3",
        causes=NO_PASSWORD_KEY_CAUSES,
        fixes=NO_PASSWORD_KEY_FIXES,
    ),
    "the encrypted challenge does not open: wrong password": Advice(
        step=Step.OPENS,
        rule="The challenge opens with the key made of the armor key and the password's key.",
        source="RFC 6113 5.4.6",
        causes=WRONG_PASSWORD_CAUSES,
        fixes=WRONG_PASSWORD_FIXES,
    ),
    "the encrypted challenge was used before": Advice(
        step=Step.TS_REPLAY,
        rule="A challenge is good once. The identical packet within a minute is a retransmission "
        "and gets its answer again.",
        source="RFC 6113 5.4.6 (the ciphertext is identical)",
        causes=("a request that somebody recorded and sent again", *MALFORMED_CAUSES[1:]),
        fixes=("log on again", "if it happens again, look at the address it came from"),
    ),
}
