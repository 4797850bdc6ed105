"""Advice on the request, its names, its account and its times: what is judged before any proof."""

from collections.abc import Mapping

from kdc.explain.advice_text import SET_CLOCKS, SHOW_ACCOUNT, Advice
from kdc.explain.steps import Step

REQUEST_ADVICE: Mapping[str, Advice] = {
    # -- the message and its names ---------------------------------------------------------
    "not a KDC request": Advice(
        step=Step.READ,
        rule="A KDC answers AS-REQ and TGS-REQ. Anything else gets no answer at all: a reply to "
        "a reply could make two servers talk to each other for ever.",
        source="RFC 4120 3.1; CVE-2002-2443",
        causes=("another service's traffic on this port", "a port scanner"),
        fixes=("nothing, unless a Kerberos client was meant: check its kdc = address:port",),
    ),
    "the protocol version is not 5": Advice(
        step=Step.HEADER,
        rule="pvno is 5.",
        source="RFC 4120 5.4.1",
        causes=("a Kerberos 4 client", "a test"),
        fixes=("use a Kerberos 5 client",),
    ),
    "msg-type does not match the message": Advice(
        step=Step.HEADER,
        rule="msg-type is 10 in an AS-REQ, 12 in a TGS-REQ, 14 in the AP-REQ inside it.",
        source="RFC 4120 5.4.1",
        causes=("a faulty client", "a test"),
        fixes=("update the client",),
    ),
    "this KDC does not serve the realm named": Advice(
        step=Step.REALM,
        rule="The realm of a request is ours: the DNS or the NetBIOS name, in any ASCII case.",
        source="MS-KILE 3.3.5.6.1; RFC 6806; row N01",
        causes=(
            "the client's krb5.conf has another default_realm, or maps the domain elsewhere",
            "a typing mistake in the part behind the @",
            "the request was meant for another KDC",
        ),
        fixes=(
            "kdc config show --origin           (realm, netbios)",
            "compare default_realm, [realms] and [domain_realm] of the client's krb5.conf with",
            "the krb5.conf in the state folder",
        ),
    ),
    "an option that an AS-REQ cannot have is set": Advice(
        step=Step.OPTIONS,
        rule="renew, validate, forwarded, proxy, postdated, enc-tkt-in-skey, anonymous and "
        "S4U's cname-in-addl-tkt have no meaning in an AS-REQ here.",
        source="RFC 4120 3.1.2, 5.4.1",
        causes=(
            "anonymous PKINIT (kinit -n), which is not offered",
            "a postdated ticket (kinit -s), which is not issued",
        ),
        fixes=("leave the option out: see kdc-options in the tree",),
    ),
    "no encryption type of the request is supported here": Advice(
        step=Step.ETYPE,
        rule="The session key is of an encryption type that both client and realm allow. RC4, "
        "DES and 3DES are not in this KDC at all.",
        source="RFC 4120 3.1.3; RFC 8429",
        causes=(
            "a tool or an old client that asks for RC4 (23) only",
            "default_tkt_enctypes or permitted_enctypes in the client's krb5.conf",
            "supported_enctypes in kdc.toml leaves out what this client has",
        ),
        fixes=(
            "allow AES on the client: 18, 17 (every client since 2008), or 20, 19",
            "kdc config show --origin           (supported_enctypes)",
        ),
    ),
    "no account of the client's name": Advice(
        step=Step.CLIENT,
        rule="cname is a sAMAccountName, one without its $, or a user principal name. Names "
        "match in any ASCII case; look-alike letters never match.",
        source="MS-KILE 3.3.5.6.1; RFC 6806; rows N02 to N07",
        causes=(
            "the name is misspelt, or the account was deleted",
            "the account is in another realm",
            "a UPN with a suffix of its own was sent as a plain name: it needs kinit -E",
        ),
        fixes=("kdc user list", "kdc user add NAME"),
    ),
    "no service of the name asked for": Advice(
        step=Step.SERVICE,
        rule="sname is krbtgt/REALM with our realm, or the service principal name of an account.",
        source="RFC 4120 3.1.2, 6.2",
        causes=(
            "the service was never added, or its host name is another (short, alias, other case "
            "of the domain)",
            "krbtgt of another realm: there is no trust to it",
        ),
        fixes=("kdc service list", "kdc service add host/web.lab.test"),
    ),
    "the service's account is disabled": Advice(
        step=Step.SERVICE,
        rule="No tickets for a disabled account.",
        source="MS-KILE 3.3.5.7.1",
        causes=("an administrator disabled it",),
        fixes=("kdc service list",),
    ),
    # -- the account -----------------------------------------------------------------------
    "the account is disabled": Advice(
        step=Step.ACCOUNT,
        rule="A disabled account gets no ticket, whatever it proves.",
        source="MS-KILE 3.3.5.7.1",
        causes=("an administrator disabled it, here or in the directory it comes from",),
        fixes=(SHOW_ACCOUNT, "kdc user enable {client}"),
    ),
    "the account is locked": Advice(
        step=Step.ACCOUNT,
        rule="After lockout_threshold wrong passwords within lockout_window the account is locked "
        "for lockout_duration. Logons with a key never count, but are refused meanwhile.",
        source="MS-KILE 3.3.5.7.1; lockout_* in kdc.toml",
        causes=(
            "wrong passwords: a script or a device with an old one, or somebody guessing",
            "the audit log says from where: look for status 0x18 of this account",
        ),
        fixes=(SHOW_ACCOUNT, "kdc user unlock {client}"),
    ),
    "the account has expired": Advice(
        step=Step.ACCOUNT,
        rule="An account is good until its expiry.",
        source="MS-KILE 3.3.5.7.1 (accountExpires)",
        causes=("a temporary account whose time is over",),
        fixes=(SHOW_ACCOUNT, "kdc user expire {client} --at never"),
    ),
    "outside the account's logon hours": Advice(
        step=Step.ACCOUNT,
        rule="An account with logon hours logs on in those hours, which are in UTC.",
        source="MS-SAMR 2.2.6.5; MS-KILE 3.3.5.7.1",
        causes=("the hour, or hours that were set in local time",),
        fixes=(SHOW_ACCOUNT, "change the logon hours where the account comes from"),
    ),
    "the password must be changed first": Advice(
        step=Step.PASSWORD_STATE,
        rule="An account that must change its password gets no ticket until it did. One that "
        "must use a key has no password that could matter.",
        source="MS-KILE 3.3.5.7.1",
        causes=("a new account or a reset password",),
        fixes=(
            "kdc user password {client}",
            "for an account that only logs on with a key: kdc user set {client} "
            "--smartcard-required",
        ),
    ),
    "the password has expired": Advice(
        step=Step.PASSWORD_STATE,
        rule="A password is good until its expiry, for logons with a key as well, unless the "
        "account must use a key.",
        source="MS-KILE 3.3.5.7.1",
        causes=("it was not changed in time",),
        fixes=(
            "kdc user password {client}",
            "for an account that only logs on with a key: kdc user set {client} "
            "--smartcard-required",
        ),
    ),
    "PA-PAC-REQUEST is malformed": Advice(
        step=Step.PAC_REQUEST,
        rule="PA-PAC-REQUEST, when it is sent, is a KERB-PA-PAC-REQUEST.",
        source="MS-KILE 2.2.3",
        causes=("a faulty client", "a test"),
        fixes=("look at the fault below padata type 128 in the tree",),
    ),
    # -- pre-authentication ----------------------------------------------------------------
    "no pre-authentication data": Advice(
        step=Step.MECHANISM,
        rule="No ticket without a proof, for no account: the answer says which proofs it can "
        "bring. This is the first half of every ordinary logon, not a failure.",
        source="RFC 4120 3.1.3, 5.2.7; AS-REP roasting",
        causes=("every client asks so first",),
        fixes=(
            "if nothing follows this request, the client has no proof of a kind that was offered:",
            "kdc key list {client}",
            SHOW_ACCOUNT,
        ),
    ),
    "PA-PK-AS-REQ together with PA-PK-AS-REQ-OLD": Advice(
        step=Step.MECHANISM,
        rule="A request has the RFC's PKINIT or the draft's, not both.",
        source="MS-PKCA 3.1.5.2",
        causes=("a faulty client", "a test"),
        fixes=("send padata type 16 alone",),
    ),
    "the same pre-authentication data twice": Advice(
        step=Step.MECHANISM,
        rule="One proof of a kind: with two, which one counted would be a matter of luck.",
        source="own rule (row P22)",
        causes=("a faulty client", "a test"),
        fixes=("update the client",),
    ),
    "PA-PK-AS-REQ-OLD (a draft) is not supported": Advice(
        step=Step.MECHANISM,
        rule="PKINIT is that of RFC 4556 (padata type 16). The drafts' (14, 15) cannot bind the "
        "signature to the request.",
        source="MS-PKCA 4.3; RFC 4556",
        causes=("Windows XP or 2003, or a library of that time",),
        fixes=("use a client that speaks RFC 4556: Windows Vista and later, MIT, Heimdal",),
    ),
    "the reply is larger than a datagram may be": Advice(
        step=None,
        rule="A reply over kdc_max_dgram_reply_size is given by TCP: the client asks again there. "
        "This is a step of an ordinary logon, not a failure.",
        source="RFC 4120 7.2.1 (KRB_ERR_RESPONSE_TOO_BIG)",
        causes=("a PKINIT reply over UDP",),
        fixes=("if no TCP request follows, let TCP through to the KDC's port",),
    ),
    # -- times -----------------------------------------------------------------------------
    "postdated tickets are not issued": Advice(
        step=Step.TIMES,
        rule="A ticket starts now.",
        source="RFC 4120 3.1.3; own rule",
        causes=("kinit -s, or a client whose clock is far ahead",),
        fixes=("leave the start time out", *SET_CLOCKS[:1]),
    ),
    "the requested end time has passed": Advice(
        step=Step.TIMES,
        rule="till lies in the future.",
        source="RFC 4120 3.1.3",
        causes=("the client's clock is hours behind", "a lifetime of zero was asked for"),
        fixes=SET_CLOCKS[:2],
    ),
}
