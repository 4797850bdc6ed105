"""What `kdc directory check --fix` does over LDAP, with the caller's credentials."""

from collections.abc import Callable, Sequence

from directory.ldap.messages import Change, Entry, ModifyOp
from directory.ldap.write import KEY_CREDENTIALS, WritingConnection
from directory.model import Sid

Repair = Callable[[WritingConnection], str]
"""Mends what was found and says what it did. Raises DirectoryError."""
_DISABLED_NORMAL_ACCOUNT = b"514"  # krbtgt never logs on (MS-ADTS 2.2.16)
_DOMAIN_USERS_RID = b"513"


def _change(dn: str, told: str, *changes: Change) -> Repair:
    def mend(connection: WritingConnection) -> str:
        connection.modify(dn, changes)
        return told

    return mend


def domain_sid(base: str, domain: Entry, sid: Sid) -> Repair:
    """Give the domain's entry a SID."""
    changes = [Change(ModifyOp.ADD, "objectSid", (sid.to_bytes(),))]
    classes = {value.lower() for value in domain.values("objectclass")}
    if b"samdomainbase" not in classes:
        changes.insert(0, Change(ModifyOp.ADD, "objectClass", (b"samDomainBase",)))
    return _change(base, f"{base} has the SID {sid} now", *changes)


def back_link(top: str) -> Repair:
    """Allow the back link of key credentials on every class."""
    change = Change(ModifyOp.ADD, "mayContain", (b"msDS-KeyCredentialLink-BL",))
    return _change(top, "class top allows msDS-KeyCredentialLink-BL now", change)


def add_spn(dn: str, spn: str) -> Repair:
    """Give the directory server's account its service principal name."""
    change = Change(ModifyOp.ADD, "servicePrincipalName", (spn.encode(),))
    return _change(dn, f"{dn} has {spn} now", change)


def add_index(database: str, names: Sequence[str]) -> Repair:
    """Index attributes; slapd builds the index while it runs."""
    value = f"{','.join(names)} eq".encode()
    change = Change(ModifyOp.ADD, "olcDbIndex", (value,))
    return _change(database, f"slapd indexes {', '.join(names)} now", change)


def add_krbtgt(base: str, sid: Sid) -> Repair:
    """Add the account that tickets are sealed under; its keys come from the key source."""
    dn = f"cn=krbtgt,{base}"

    def mend(connection: WritingConnection) -> str:
        connection.add(
            dn,
            {
                "objectClass": (b"user", b"securityPrincipal", b"keytrustPrincipal"),
                "cn": (b"krbtgt",),
                "sAMAccountName": (b"krbtgt",),
                "objectSid": (sid.to_bytes(),),
                "userAccountControl": (_DISABLED_NORMAL_ACCOUNT,),
                "primaryGroupID": (_DOMAIN_USERS_RID,),
            },
        )
        return f"{dn} is there now"

    return mend


def rewrite_link(dn: str, old: str, new: str) -> Repair:
    """Write a key credential with the entry's present DN in place of its former one."""
    return _change(
        dn,
        f"a key of {dn} names its present DN now",
        Change(ModifyOp.DELETE, KEY_CREDENTIALS, (old.encode(),)),
        Change(ModifyOp.ADD, KEY_CREDENTIALS, (new.encode(),)),
    )
