"""Advice on kpasswd: its frame, its ticket, and what a new password must be."""

from collections.abc import Mapping

from kdc.explain.advice_text import SET_CLOCKS, SHOW_ACCOUNT, Advice
from kdc.explain.steps import Step

_FAULTY = ("a faulty client", "a test or a scanner")
_AGAIN = "start kpasswd again: it asks for a new ticket"
_UPDATE = "update the client"
_SET_IT = "kdc user password {client}     (an administrator sets one)"


def _advice(
    rule: str, source: str, causes: tuple[str, ...] = _FAULTY, fixes: tuple[str, ...] = (_UPDATE,)
) -> Advice:
    return Advice(step=None, rule=rule, source=source, causes=causes, fixes=fixes)


KPASSWD_ADVICE: Mapping[str, Advice] = {
    "the lengths in a password change do not fit its size": _advice(
        "Message length is that of the whole frame, AP-REQ length that of a part of it.",
        "RFC 3244 2; code as MIT's server",
        (*_FAULTY, "an AS-REQ or something else sent to the port of kpasswd"),
        ("let kdc and kpasswd_server in the client's krb5.conf name different ports",),
    ),
    "an answer, not a request to change a password": _advice(
        "What a server sends is not answered, or two servers would answer each other for ever.",
        "CVE-2002-2443",
        ("a forged sender", "two servers that talk to each other"),
        ("nothing: nothing was sent",),
    ),
    "the version of the password protocol is not known": _advice(
        "The protocol version is 1 (change) or 0xff80 (set).", "RFC 3244 2, 3"
    ),
    "the ticket is not for the password service of this realm": _advice(
        "The ticket shown is for kadmin/changepw of this realm.",
        "RFC 3244 1, 2",
        ("another service's ticket shown to kpasswd", "a client of another realm"),
        (_AGAIN,),
    ),
    "the ticket is sealed with a key that the password service has not": _advice(
        "A ticket is sealed with one of the keys that kadmin/changepw has.",
        "RFC 4120 3.2.3 (KRB_AP_ERR_BADKEYVER)",
        ("the keys of kadmin/changepw were rotated a moment ago", "the realm was made anew"),
        (_AGAIN,),
    ),
    "the ticket does not open with the key of the password service": _advice(
        "A ticket for kadmin/changepw is sealed with that account's own random key.",
        "RFC 4120 3.2.3 (KRB_AP_ERR_BAD_INTEGRITY)",
        ("another service's ticket under this name", "a message changed on its way"),
        (_AGAIN,),
    ),
    "the session key is of a type we do not use": _advice(
        "The session key is of an encryption type of this KDC.",
        "RFC 4120 3.2.3",
        ("a ticket made by somebody who has the key of kadmin/changepw",),
        ("kdc keytab rotate kadmin/changepw",),
    ),
    "a client of another realm has no password here": _advice(
        "Passwords are changed in the realm of their account.",
        "RFC 3244 2",
        ("a ticket made by somebody who has the key of kadmin/changepw",),
        ("kdc keytab rotate kadmin/changepw",),
    ),
    "the ticket for the password service is not valid yet": _advice(
        "A ticket is valid from its start on, within the clock skew.",
        "RFC 4120 3.2.3 (KRB_AP_ERR_TKT_NYV)",
        ("clocks that differ between two KDCs of the realm",),
        SET_CLOCKS,
    ),
    "the ticket for the password service has expired": _advice(
        "A ticket for kadmin/changepw is good for five minutes.",
        "RFC 4120 3.2.3 (KRB_AP_ERR_TKT_EXPIRED)",
        ("the new password was typed long after the old one", "a ticket kept in a cache"),
        (_AGAIN,),
    ),
    "the authenticator of a password change has no subkey": _advice(
        "The authenticator has a subkey: request and reply are sealed with it.",
        "RFC 3244 2",
    ),
    "the KRB-PRIV's version is not 5": _advice("pvno of the KRB-PRIV is 5.", "RFC 4120 5.7.1"),
    "the KRB-PRIV is not valid DER": _advice(
        "What follows the AP-REQ is a KRB-PRIV.", "RFC 3244 2; RFC 4120 5.7.1"
    ),
    "the KRB-PRIV does not open with the subkey": _advice(
        "The KRB-PRIV is sealed with the authenticator's subkey, key usage 13.",
        "RFC 3244 2; RFC 4120 7.5.1",
        ("the message was changed on its way, or put together from two", "a faulty client"),
        (_AGAIN,),
    ),
    "the KRB-PRIV's sequence number is not the AP-REQ's": _advice(
        "The KRB-PRIV's sequence number is the one that the authenticator starts with.",
        "RFC 4120 3.4.2 (KRB_AP_ERR_BADORDER)",
    ),
    "the KRB-PRIV is outside the clock skew": _advice(
        "A timestamp in the KRB-PRIV lies within clockskew of our clock.",
        "RFC 4120 3.4.2 (KRB_AP_ERR_SKEW)",
        ("clocks that differ",),
        SET_CLOCKS,
    ),
    "passwords are not changed by this KDC": _advice(
        "A realm whose accounts are elsewhere changes its passwords there.",
        "RFC 3244 2 (KRB5_KPASSWD_HARDERROR)",
        ("kpasswd asks this KDC where it should ask the directory's",),
        ("let kpasswd_server in the client's krb5.conf name the right server",),
    ),
    "ChangePasswdData is malformed": _advice(
        "With version 0xff80 the protected data are ChangePasswdData in DER.", "RFC 3244 2"
    ),
    "the new password is not UTF-8": _advice(
        "A password is UTF-8.",
        "RFC 3244 2",
        ("a terminal with an older character set",),
        ("set LANG to a UTF-8 locale and type it again",),
    ),
    "the account of a password change is not the one that logged on": _advice(
        "The ticket's client is an account, and still the one with the SID in the ticket.",
        "CVE-2021-42287",
        ("the account was renamed, deleted or made anew in the last five minutes",),
        (_AGAIN, SHOW_ACCOUNT),
    ),
    "the account of a password change is younger than its ticket": _advice(
        "The account of the ticket's client existed when the ticket was issued.",
        "CVE-2021-42287",
        ("the account was deleted and made anew in the last five minutes",),
        (_AGAIN, SHOW_ACCOUNT),
    ),
    "the ticket of a password change is not from a logon": _advice(
        "Who changes their own password shows a ticket with the flag INITIAL.",
        "RFC 3244 2 (KRB5_KPASSWD_INITIAL_FLAG_NEEDED)",
        ("a ticket that was had with a TGT, from another KDC of the realm", "a test"),
        (_AGAIN,),
    ),
    "only an administrator sets another account's password": _advice(
        "Others' passwords are set by members of Domain Admins, where kpasswd_admin_reset is on.",
        "RFC 3244 2 (KRB5_KPASSWD_ACCESSDENIED)",
        ("somebody tries to change another's password", "kpasswd was given another's name"),
        (_SET_IT, "kpasswd_admin_reset = true in kdc.toml, and the group: kdc group list"),
    ),
    "the account whose password is to be set does not exist": _advice(
        "The target of set-password is a user of this realm.",
        "RFC 3244 2",
        ("a misspelt name",),
        ("kdc user list",),
    ),
    "the account has no password to change": _advice(
        "Passwords are of users, and changed where there is one.",
        "RFC 3244 2 (KRB5_KPASSWD_ACCESSDENIED)",
        ("a user who logs on with a Hello key only", "a service's or computer's account"),
        (SHOW_ACCOUNT, _SET_IT),
    ),
    "the account must log on with a key, its password is not changed": _advice(
        "An account that must use a smart card or key has no password that counts.",
        "MS-ADTS 2.2.16 (UF_SMARTCARD_REQUIRED)",
        ("smartcard_required is set on the account",),
        (SHOW_ACCOUNT, "kdc user set {client} --no-smartcard-required"),
    ),
    "the new password could not be stored": _advice(
        "Success is answered when the new keys are on disk.",
        "RFC 3244 2 (KRB5_KPASSWD_SOFTERROR)",
        ("another command writes to the store for long, such as kdc user import", "a full disk"),
        ("try again later", "$ df of the state folder; the server's log says more"),
    ),
    "the password was changed too recently": _advice(
        "A password is changed again after password_min_age, unless it must be changed.",
        "MS-SAMR 3.1.1.8.1 (minPwdAge)",
        ("the user changed it a short while ago",),
        ("wait, or let an administrator set one: kdc user password {client}",),
    ),
    "the new password is too long": _advice(
        "A password has at most 1,024 characters.",
        "a bound of ours",
        ("a file was sent for a password",),
        ("choose a shorter one",),
    ),
    "the new password is too short": _advice(
        "A password has at least password_min_length characters.",
        "NIST SP 800-63B 5.1.1",
        ("the user chose a short one",),
        ("choose a longer one", "password_min_length in kdc.toml"),
    ),
    "the new password has too few kinds of characters": _advice(
        "A password has characters of password_min_classes kinds.",
        "MS-SAMR 3.1.1.8.1 (DOMAIN_PASSWORD_COMPLEX)",
        ("the user chose a simple one",),
        ("mix letters, digits and punctuation", "password_min_classes in kdc.toml"),
    ),
    "the new password contains the account's name": _advice(
        "A password does not contain the user's name, while password_min_classes is on.",
        "MS-SAMR 3.1.1.8.1 (DOMAIN_PASSWORD_COMPLEX)",
        ("the user chose a simple one",),
        ("choose another one",),
    ),
    "the new password was used before": _advice(
        "A password is none of the last password_history, the one in force counted.",
        "MS-SAMR 3.1.1.8.1 (pwdHistoryLength)",
        ("the user took an old one", "a change that had succeeded was sent once more"),
        ("choose another one", "password_history in kdc.toml"),
    ),
    "a ticket for the password service is had by a logon only": Advice(
        step=Step.SERVICE,
        rule="kadmin/changepw gives no tickets to who shows a TGT: a screen left alone would do.",
        source="RFC 3244 2 (the flag INITIAL); MIT's DISALLOW_TGT_BASED",
        causes=("kvno kadmin/changepw", "a client that asks with its TGT instead of the password"),
        fixes=("use kpasswd, or kinit -S kadmin/changepw",),
    ),
}
