"""From the names in a request to accounts, and to the names in the reply.

Rules (MS-KILE 3.3.5.6.1, RFC 6806, RFC 4120 6.2; wire facts and rows N01-N07)
  1. The realm is ours by its DNS or NetBIOS name, in any ASCII case. Any other is 68.
  2. A name of one part is looked up as sAMAccountName, then with "$" appended (a switch), then as
     the UPN `name@REALM`. An enterprise name is looked up as a whole UPN, whatever its suffix;
     only then, if the suffix is ours, as a name.
     An NT-X500-PRINCIPAL name is the subject, or the whole value, of an altSecurityIdentities.
  3. Parts are never joined into something that another list of parts could give as well:
     {"host/a"} is not {"host", "a"}.
  4. The reply names the account by its own name when the client asked for canonicalization or
     sent an enterprise name, and also when the name it sent is not just another case of it: a
     ticket never carries a name that some other account could own.
"""

from dataclasses import dataclass

from directory.alt_security import keys_of_name
from directory.backend import Directory
from directory.model import Account, AccountKind, match_key
from kdc.config import KdcConfig
from kdc.errors import KdcError
from kdc.wire.constants import ErrorCode, KdcOption, NameType
from kdc.wire.rfc4120 import KdcReqBody, PrincipalName

KRBTGT = "krbtgt"

PASSWORD_SERVICE = ("kadmin", "changepw")
"""RFC 3244 1: the name of the service that changes passwords."""
PASSWORD_SERVICE_NAME = "/".join(PASSWORD_SERVICE)


@dataclass(slots=True, kw_only=True)
class Named:
    """An account and the name it has in this reply."""

    account: Account
    name: PrincipalName


def name_text(name: PrincipalName | None) -> str:
    """Render a principal name for the audit record; the writer escapes it."""
    return "" if name is None else "/".join(name.name_string)


def is_our_realm(text: str, config: KdcConfig) -> bool:
    """Tell whether a realm name is ours: DNS or NetBIOS domain name in any case."""
    if text == config.realm:
        return True
    # The key of a name is as long as the name: of a long one it is not even made.
    if len(text) not in (len(config.realm), len(config.netbios)):
        return False
    key = match_key(text)
    return key in (match_key(config.realm), match_key(config.netbios))


def check_realm(body: KdcReqBody, config: KdcConfig) -> None:
    """Refuse requests for another realm: KDC_ERR_WRONG_REALM."""
    if not is_our_realm(body.realm, config):
        raise KdcError(ErrorCode.KDC_ERR_WRONG_REALM, "this KDC does not serve the realm named")


def is_password_service(account: Account) -> bool:
    """Tell whether an account is kadmin/changepw, by whatever other name it was found."""
    # Never krbtgt, to which Windows gives this name: tickets for the one would open as the other's
    # (CVE-2022-2031).
    return account.kind is not AccountKind.KRBTGT and PASSWORD_SERVICE_NAME in map(
        match_key, account.spns
    )


def account_by_simple_name(name: str, directory: Directory, config: KdcConfig) -> Account | None:
    """Find an account by a name of one part: rule 2."""
    # Where names are hidden all three are looked up, so that the time tells nothing (row A08).
    further = config.hide_unknown
    account = directory.account_by_name(name)
    if (account is None or further) and config.implicit_dollar and not name.endswith("$"):
        computer = directory.account_by_name(name + "$")
        account = account or computer
    if account is None or further:
        of_upn = directory.account_by_upn(f"{name}@{config.realm}")
        account = account or of_upn
    return account


def account_by_enterprise_name(
    name: str, directory: Directory, config: KdcConfig
) -> Account | None:
    """Find an account by an enterprise name: rule 2."""
    account = directory.account_by_upn(name)
    if account is not None:
        return account
    local, at, suffix = name.rpartition("@")
    if not at:
        return account_by_simple_name(name, directory, config)
    if "@" not in local and is_our_realm(suffix, config):
        return account_by_simple_name(local, directory, config)
    return None


def account_by_parts(parts: tuple[str, ...], directory: Directory) -> Account | None:
    """Find an account by a service name of two or more parts."""
    if any("/" in part or not part for part in parts):
        return None
    return directory.account_by_spn("/".join(parts))


def account_of_ticket(cname: PrincipalName, directory: Directory) -> Account | None:
    """Find the account of a ticket's client by exactly that name; krbtgt accounts too.

    No "$" is added and no UPN tried: a name that was freed must lead to nobody (CVE-2021-42278).
    """
    parts = cname.name_string
    if not parts or not parts[0]:
        return None
    if len(parts) > 1:
        return account_by_parts(parts, directory)
    return directory.account_by_name(parts[0])


def is_x500(text: str) -> bool:
    """Tell a distinguished name or an altSecurityIdentities from a name of another kind."""
    return "=" in text or text[:5].upper() == "X509:"


def _named_by_mapping(text: str, directory: Directory) -> Named | None:
    """Find the client of an NT-X500-PRINCIPAL name: the one account mapped to that subject.

    The logon must prove a certificate that maps to the account: the name alone says nothing.
    Source: MS-PKCA 3.1.5.2.1.
    """
    owners = directory.accounts_by_alt_security_identity(keys_of_name(text))
    account = directory.account_by_id(owners[0]) if len(owners) == 1 else None
    if account is None or account.kind is AccountKind.KRBTGT:
        return None
    own = PrincipalName(name_type=NameType.PRINCIPAL, name_string=(account.sam_account_name,))
    return Named(account=account, name=own)


def find_client(body: KdcReqBody, directory: Directory, config: KdcConfig) -> Named | None:
    """Find the account that cname stands for, or None when there is none.

    Raises DirectoryError when the store cannot be read.
    """
    cname = body.cname
    if cname is None or not cname.name_string or not cname.name_string[0]:
        return None
    parts = cname.name_string
    if cname.name_type == NameType.X500_PRINCIPAL and len(parts) == 1 and is_x500(parts[0]):
        return _named_by_mapping(parts[0], directory)
    enterprise = cname.name_type == NameType.ENTERPRISE
    if len(parts) > 1:
        account = None if enterprise else account_by_parts(parts, directory)
        if account is not None and account.kind is AccountKind.KRBTGT:
            return None
        return None if account is None else Named(account=account, name=cname)
    if "/" in parts[0]:
        return None
    lookup = account_by_enterprise_name if enterprise else account_by_simple_name
    account = lookup(parts[0], directory, config)
    if account is None or account.kind is AccountKind.KRBTGT:
        return None
    own = account.sam_account_name
    canonical = (
        enterprise
        or body.kdc_options & KdcOption.CANONICALIZE
        or match_key(own) != match_key(parts[0])
    )
    if canonical:
        cname = PrincipalName(name_type=NameType.PRINCIPAL, name_string=(own,))
    return Named(account=account, name=cname)


def _unknown_service() -> KdcError:
    # Made where it is raised: kept in a variable, it would hold the frame that holds it, and such
    # cycles wait for the collector.
    return KdcError(ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "no service of the name asked for")


def find_service(body: KdcReqBody, directory: Directory, config: KdcConfig) -> Named:
    """Find the account that sname stands for.

    Raises KdcError: KDC_ERR_S_PRINCIPAL_UNKNOWN, KDC_ERR_SERVICE_REVOKED.
    """
    sname = body.sname
    if sname is None or not sname.name_string:
        raise _unknown_service()
    parts = sname.name_string
    if match_key(parts[0]) == KRBTGT:
        if len(parts) != 2 or not is_our_realm(parts[1], config):
            raise _unknown_service()
        if body.kdc_options & KdcOption.CANONICALIZE:
            sname = PrincipalName(name_type=NameType.SRV_INST, name_string=(KRBTGT, config.realm))
        return Named(account=directory.krbtgt(), name=sname)
    account = account_by_parts(parts, directory) if len(parts) > 1 else None
    # krbtgt has no other name: what is sealed with its key opens as a TGT.
    if account is None or account.kind is AccountKind.KRBTGT:
        raise _unknown_service()
    if account.disabled:
        raise KdcError(ErrorCode.KDC_ERR_SERVICE_REVOKED, "the service's account is disabled")
    return Named(account=account, name=sname)
