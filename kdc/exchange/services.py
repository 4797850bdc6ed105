"""From sname to the account a service ticket is for (MS-KILE 3.3.5.1.1, MS-ADTS sPNMappings).

Rules
  1. A name of two or more parts is a service principal name. When no account has it: the instance
     without its domain gets ours, and a class that Windows counts to HOST is looked up as such.
  2. A name of one part is an account's: sAMAccountName, with "$" appended (a switch), UPN. An
     enterprise name is a UPN first.
  3. The ticket names the service as the client did. Another name for the same account would make
     MIT's client ask a second time. Only an enterprise name is replaced, for it is no service's.
  4. `krbtgt` of another realm is unknown: there are no referrals.
"""

from directory.backend import Directory
from directory.model import Account, AccountKind, match_key
from kdc.config import KdcConfig
from kdc.errors import KdcError
from kdc.exchange.principals import (
    KRBTGT,
    Named,
    account_by_enterprise_name,
    account_by_parts,
    account_by_simple_name,
    is_our_realm,
)
from kdc.wire.constants import ErrorCode, KdcOption, NameType
from kdc.wire.rfc4120 import KdcReqBody, PrincipalName

_HOST_CLASSES = """
    alerter appmgmt browser cifs cisvc clipsrv dcom dhcp dmserver dns dnscache eventlog
    eventsystem fax http ias iisadmin mcsvc messenger msiserver netdde netddedsm netlogon
    netman nmagent oakley plugplay policyagent protectedstorage rasman remoteaccess replicator
    rpc rpclocator rpcss rsvp samss scardsvr scesrv schedule scm seclogon snmp spooler tapisrv
    time trksvr trkwks ups w3svc wins www
"""
HOST_CLASSES = frozenset(_HOST_CLASSES.split())
"""Service classes that any host's own account stands for: the default of AD's sPNMappings."""


def find_target(body: KdcReqBody, directory: Directory, config: KdcConfig) -> Named:
    """Find the account that a ticket is asked for.

    Raises KdcError: KDC_ERR_S_PRINCIPAL_UNKNOWN, KDC_ERR_SERVICE_REVOKED.
    """
    sname = body.sname
    if sname is not None and sname.name_string and match_key(sname.name_string[0]) == KRBTGT:
        return _ticket_granting(sname, body, directory, config)
    account = None if sname is None else account_of_service(sname, directory, config)
    if account is None or sname is None:
        raise KdcError(ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "no service of the name asked for")
    if account.disabled:
        raise KdcError(ErrorCode.KDC_ERR_SERVICE_REVOKED, "the service's account is disabled")
    if sname.name_type == NameType.ENTERPRISE and body.kdc_options & KdcOption.CANONICALIZE:
        own = account.sam_account_name
        sname = PrincipalName(name_type=NameType.PRINCIPAL, name_string=(own,))
    return Named(account=account, name=sname)


def account_of_service(
    sname: PrincipalName, directory: Directory, config: KdcConfig
) -> Account | None:
    """Find the account of a service by any of its names; krbtgt is none (rules 1 and 2)."""
    parts = sname.name_string
    if not parts or not parts[0]:
        return None
    if len(parts) > 1:
        account = _by_service_name(parts, directory, config)
    elif sname.name_type == NameType.ENTERPRISE:
        account = account_by_enterprise_name(parts[0], directory, config)
    elif "/" in parts[0]:
        return None
    else:
        account = account_by_simple_name(parts[0], directory, config)
    return None if account is None or account.kind is AccountKind.KRBTGT else account


def _ticket_granting(
    sname: PrincipalName, body: KdcReqBody, directory: Directory, config: KdcConfig
) -> Named:
    parts = sname.name_string
    if len(parts) != 2 or not is_our_realm(parts[1], config):
        raise KdcError(
            ErrorCode.KDC_ERR_S_PRINCIPAL_UNKNOWN, "there is no trust to the realm asked for"
        )
    if body.kdc_options & KdcOption.CANONICALIZE:
        sname = PrincipalName(name_type=NameType.SRV_INST, name_string=(KRBTGT, config.realm))
    return Named(account=directory.krbtgt(), name=sname)


def _by_service_name(
    parts: tuple[str, ...], directory: Directory, config: KdcConfig
) -> Account | None:
    account = account_by_parts(parts, directory)
    if account is not None or len(parts) != 2:
        return account
    service, instance = parts
    classes = [service, "host"] if match_key(service) in HOST_CLASSES else [service]
    instances = [instance] if "." in instance else [instance, f"{instance}.{config.domain}"]
    for other_class in classes:
        for other_instance in instances:
            account = account_by_parts((other_class, other_instance), directory)
            if account is not None:
                return account
    return None
