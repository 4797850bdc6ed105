"""The read-only DCs of a realm under attack, whole and broken ones; what no command makes."""

from datetime import UTC, datetime

from directory.changes import AccountChanges, NewAccount
from directory.model import AccountKind, PrincipalKey
from directory.sealing import MasterKey
from directory.store import Store
from directory.store_read_only_dc import dn_of_group
from tests.negative.cases import cloud
from tests.negative.wire.cloud import CloudKeys
from tests.rig.realm import LiveRealm

_ALLOWED = (
    *("pat", "roasted", "zo\xeb-irina-fin", "administrator", "card", "svc$", "dc1$"),
    *("disabled", "expired", "locked", "hours", "must-change", "password-expired"),
)
# In order: a group must be there before it is put into another.
_MEMBERS = (
    *(("Cloud", name) for name in _ALLOWED),
    ("Denied", "eve"),
    ("Denied", "roasted"),
    ("Third", "zo\xeb-irina-fin"),
    ("Second", "Third"),
    ("Denied", "Second"),
    ("Domain Admins", "administrator"),
    ("Branch", "alice"),
)


def add_read_only_dcs(live: LiveRealm) -> CloudKeys:
    """Make them, the groups and the accounts of rows X01 to X11."""
    state = live.state
    now = datetime.now(UTC)
    store = Store.open(state / "store.sqlite", MasterKey.load(state / "master.key"))
    try:
        store.add_account(
            NewAccount(kind=AccountKind.COMPUTER, name="dc1$", created_at=now, primary_group_id=516)
        )
        for group, member in _MEMBERS:
            _put_into(store, group, member)
        store.update_account(_number(store, "card"), AccountChanges(admin_count=True))
        branch = store.group_by_name("Branch")
        assert branch is not None
        primary = AccountChanges(primary_group_id=branch.sid.rid)
        store.update_account(_number(store, "bob"), primary)
        keys: dict[int, bytes] = {}
        for number in (
            *(cloud.MAIN, cloud.NO_LINK, cloud.NO_FLAG, cloud.BROKEN_LIST),
            *(cloud.OTHER, cloud.TWICE, cloud.PRIMARY, cloud.NO_LIST),
        ):
            keys[number] = _add(store, number, now)
        _add(store, cloud.TWICE, now, name="krbtgt_twice")
        main = _number(store, f"krbtgt_{cloud.MAIN}")
        generations = [keys[cloud.MAIN]]
        for kvno in (2, 3):
            new = _key(f"main {kvno}", kvno)
            store.set_keys(main, (new,), keep_generations=1)
            generations.append(new.key)
        keys[cloud.MAIN] = generations[2]
        return CloudKeys(
            domain=str(store.domain_sid),
            sids={
                summary.sam_account_name: str(account.sid)
                for summary in store.list_accounts(limit=10_000)
                if (account := store.account_by_id(summary.account_id)) is not None
            },
            keys=keys,
            previous=generations[1],
            void=generations[0],
        )
    finally:
        store.close()


def _number(store: Store, name: str) -> int:
    account = store.account_by_name(name)
    if account is None:
        raise LookupError(name)
    return account.account_id


def _put_into(store: Store, group: str, member: str) -> None:
    found = store.group_by_name(group)
    number = store.add_group(group) if found is None else found.group_id
    inner = store.group_by_name(member)
    if inner is not None:
        store.add_member(number, member_group=inner.group_id)
    else:
        store.add_member(number, account_id=_number(store, member))


def _key(name: str, kvno: int = 1) -> PrincipalKey:
    return PrincipalKey(etype=18, kvno=kvno, key=name.encode().ljust(32, b"."))


def _add(store: Store, number: int, now: datetime, name: str = "") -> bytes:
    """Add a read-only DC, broken as its number says; return its key."""
    name = name or f"krbtgt_{number}"
    dn = f"CN={name},CN=Users,DC=LAB,DC=TEST"
    key = _key(name)
    allow = {cloud.PRIMARY: "Branch", cloud.NO_LIST: None}.get(number, "Cloud")
    deny = ["Denied", "Domain Admins", "Branch"] if number != cloud.PRIMARY else []
    denied = [_dn(store, group) for group in deny]
    if number == cloud.BROKEN_LIST:
        denied.append("CN=Gone,CN=Users,DC=LAB,DC=TEST")
    store.add_accounts(
        (
            NewAccount(
                kind=AccountKind.KRBTGT,
                name=name,
                created_at=now,
                keys=(key,),
                secondary_krbtgt_number=number,
                dn=dn,
            ),
            NewAccount(
                kind=AccountKind.COMPUTER,
                name=f"{name.replace('krbtgt_', 'rodc')}$",
                created_at=now,
                partial_secrets=number != cloud.NO_FLAG,
                krbtgt_link=None if number == cloud.NO_LINK else dn,
                primary_group_id=521,
                reveal_on_demand=() if allow is None else (_dn(store, allow),),
                never_reveal=tuple(denied),
            ),
        )
    )
    return key.key


def _dn(store: Store, group: str) -> str:
    found = store.group_by_name(group)
    if found is None:
        raise LookupError(group)
    return dn_of_group(found, store.realm)
