"""PACs made from what is remembered are, octet for octet, what the encoders give."""

import random
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import UTC, datetime, timedelta

import pytest

from directory.model import Account, AccountKind, KeyCredential, Sid
from kdc.crypto.etypes import EncType, ProtocolKey
from kdc.pac import DelegationInfo, PacFacts, PacType, TgtFrames, build, service_pac, tgt_pac
from kdc.pac import buffers as b
from kdc.pac.build import assemble, put_signature
from kdc.pac.signatures import empty_signature, make_signature
from tests.kdc.pac.builders import ALICE, DOMAIN, FOREIGN, KRBTGT, NOW, facts, key

SEEDS = range(60)


def common_buffers(told: PacFacts) -> list[tuple[PacType, bytes]]:
    """Encode what both kinds of PAC say."""
    logon_info = b.encode_logon_info(
        told.account, told.domain, told.groups, told.extra_sids, told.logon_time, told.logon_server
    )
    out = [
        (PacType.LOGON_INFO, logon_info),
        (PacType.CLIENT_INFO, b.encode_client_info(told.logon_time, told.name)),
    ]
    if told.delegation is not None:
        out.append((PacType.DELEGATION_INFO, b.encode_delegation_info(told.delegation)))
    return [*out, (PacType.UPN_DNS_INFO, b.encode_upn_dns_info(told.account, told.domain))]


def plain_tgt_pac(told: PacFacts, krbtgt: ProtocolKey) -> bytes:
    """Encode a TGT's PAC anew, buffer by buffer, and sign it."""
    assert told.account.sid is not None
    buffers = common_buffers(told)
    if told.credential_info is not None:
        buffers.insert(1, (PacType.CREDENTIAL_INFO, told.credential_info))
    buffers += (
        (PacType.ATTRIBUTES_INFO, b.encode_attributes_info(told.pac_attributes)),
        (PacType.REQUESTOR, told.account.sid.to_bytes()),
        (PacType.SERVER_CHECKSUM, empty_signature(krbtgt.enctype)),
        (PacType.KDC_CHECKSUM, empty_signature(krbtgt.enctype)),
    )
    pac, places = assemble(buffers)
    server = make_signature(krbtgt, bytes(pac))
    put_signature(pac, places[-2], server)
    put_signature(pac, places[-1], make_signature(krbtgt, server))
    return bytes(pac)


def plain_service_pac(
    told: PacFacts, service: ProtocolKey, krbtgt: ProtocolKey, ticket: bytes
) -> bytes:
    """Encode a service ticket's PAC anew, buffer by buffer, and sign it."""
    signature = empty_signature(krbtgt.enctype)
    pac, places = assemble(
        [
            *common_buffers(told),
            (PacType.SERVER_CHECKSUM, empty_signature(service.enctype)),
            (PacType.KDC_CHECKSUM, signature),
            (PacType.TICKET_CHECKSUM, signature),
            (PacType.FULL_CHECKSUM, signature),
        ]
    )
    put_signature(pac, places[-2], make_signature(krbtgt, ticket))
    put_signature(pac, places[-1], make_signature(krbtgt, bytes(pac)))
    server = make_signature(service, bytes(pac))
    put_signature(pac, places[-4], server)
    put_signature(pac, places[-3], make_signature(krbtgt, server))
    return bytes(pac)


class Drawn:
    """Facts of a few accounts, drawn at random."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)  # noqa: S311  # reproducible, not secret
        self.domains = (DOMAIN, replace(DOMAIN, netbios="OTHER", dns_name="other.lab.test"))
        self.accounts = [self.account(number) for number in range(4)]
        self.groups = [self.some_groups() for _ in range(3)]
        self.credentials = [None, self.draw.randbytes(80), self.draw.randbytes(80), b"c" * 76]

    def time(self) -> datetime:
        """Draw a moment; a logon's is a whole second, nothing here depends on it."""
        return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.draw.getrandbits(45))

    def some_groups(self) -> tuple[Sid, ...]:
        """Draw groups of the domain, of another, and BUILTIN ones."""
        every = [*(DOMAIN.sid.with_rid(rid) for rid in range(513, 523)), FOREIGN]
        every += [Sid.parse("S-1-5-32-544"), Sid.parse("S-1-5-21-1-2-3-4")]
        return tuple(self.draw.sample(every, self.draw.randint(0, len(every))))

    def account(self, number: int) -> Account:
        """Draw an account."""
        choice = self.draw.choice
        return Account(
            account_id=number,
            sam_account_name=choice(("a", "bob", "Zoë", "web$", "名" * 60)) + str(number),
            kind=choice((AccountKind.USER, AccountKind.COMPUTER, AccountKind.SERVICE)),
            upn=choice((None, "someone@lab.test", "é" * self.draw.randint(1, 40) + "@x")),
            sid=DOMAIN.sid.with_rid(self.draw.randint(1000, 2**32 - 1)),
            created_at=NOW,
            disabled=choice((True, False)),
            smartcard_required=choice((True, False)),
            expires_at=choice((None, self.time())),
            password_set_at=choice((None, self.time())),
            password_expires_at=choice((None, self.time())),
            primary_group_id=choice((513, 515, 516)),
        )

    def facts(self) -> PacFacts:
        """Draw what a PAC says; often what it said before, but for a thing or two."""
        choice = self.draw.choice
        account = choice(self.accounts)
        return PacFacts(
            account=account,
            domain=choice((*self.domains, self.domains[0], self.domains[0])),
            groups=choice(self.groups),
            logon_time=self.time(),
            name=choice((account.sam_account_name,) * 3 + ("other",)),
            extra_sids=choice(((b.AUTHENTICATION_AUTHORITY_ASSERTED,), (b.KEY_TRUST,), ())),
            pac_attributes=choice((0, 1, 2)),
            credential_info=choice(self.credentials),
            delegation=choice((None,) * 9 + (DelegationInfo(proxy_target="http/web"),)),
            logon_server=choice(("KDC", "KDC", "DC02")),
        )

    def key(self) -> ProtocolKey:
        """Draw a key of each type."""
        return key("drawn", self.draw.choice(list(EncType)))


@pytest.mark.parametrize("seed", SEEDS)
def test_tgt_pac_from_the_memory_is_the_plain_one(seed: int) -> None:
    """MS-PAC 2.3: whatever was remembered before, of this account and of others."""
    drawn, frames = Drawn(seed), TgtFrames()
    for _ in range(40):
        told, krbtgt = drawn.facts(), drawn.key()
        expected = plain_tgt_pac(told, krbtgt)
        assert tgt_pac(told, krbtgt, frames) == expected
        again = replace(told, logon_time=drawn.time())
        assert tgt_pac(again, krbtgt, frames) == plain_tgt_pac(again, krbtgt)
        assert tgt_pac(told, krbtgt) == expected


@pytest.mark.parametrize("seed", SEEDS)
def test_service_pac_from_the_facts_is_the_plain_one(seed: int) -> None:
    """MS-PAC 2.8: several tickets with one TGT, for services with keys of other types."""
    drawn = Drawn(seed)
    told = drawn.facts()
    for _ in range(12):
        service, krbtgt, ticket = drawn.key(), drawn.key(), drawn.draw.randbytes(300)
        made = service_pac(told, service, krbtgt, ticket)
        assert made == plain_service_pac(told, service, krbtgt, ticket)


CHANGES: dict[str, Callable[[PacFacts], PacFacts]] = {
    "account": lambda f: replace(f, account=replace(f.account, disabled=True)),
    "account without other values": lambda f: replace(f, account=replace(f.account)),
    "groups": lambda f: replace(f, groups=f.groups[:-1]),
    "domain": lambda f: replace(f, domain=replace(f.domain, netbios="NEW")),
    "name": lambda f: replace(f, name="alice@elsewhere"),
    "asserted identities": lambda f: replace(f, extra_sids=f.extra_sids[:1]),
    "attributes": lambda f: replace(f, pac_attributes=0),
    "server": lambda f: replace(f, logon_server="DC02"),
    "credential": lambda f: replace(f, credential_info=b"c" * 76),
    "delegation": lambda f: replace(f, delegation=DelegationInfo(proxy_target="http/web")),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_fact_is_in_the_next_pac(change: Callable[[PacFacts], PacFacts]) -> None:
    """Each thing that a PAC says, changed alone after a first logon."""
    frames, told = TgtFrames(), facts()
    tgt_pac(told, KRBTGT, frames)
    changed = change(told)
    assert tgt_pac(changed, KRBTGT, frames) == plain_tgt_pac(changed, KRBTGT)


def test_every_fact_is_among_the_changes() -> None:
    """A field that PacFacts gets must be compared, or a PAC would tell what was true before."""
    told = facts()
    changed = {
        field.name
        for change in CHANGES.values()
        for field in fields(PacFacts)
        if getattr(change(told), field.name) != getattr(told, field.name)
    }
    assert changed | {"logon_time"} == {field.name for field in fields(PacFacts) if field.init}


def test_second_logon_encodes_no_account_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the memory is for: the second PAC of an account needs only time and signatures."""
    frames, told = TgtFrames(), replace(facts(), credential_info=b"c" * 76)
    tgt_pac(told, KRBTGT, frames)
    monkeypatch.setattr(build, "encode_logon_info", None)
    again = replace(told, logon_time=NOW + timedelta(hours=3), credential_info=b"d" * 76)
    made = tgt_pac(again, KRBTGT, frames)
    assert made == plain_tgt_pac(again, KRBTGT)


def test_the_memory_of_tgt_pacs_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """MAX_TGT_FRAMES accounts, then it starts anew; an account's next state replaces the last."""
    monkeypatch.setattr(build, "MAX_TGT_FRAMES", 2)
    frames = TgtFrames()
    for number, held in ((1, 1), (1, 1), (2, 2), (3, 1), (2, 2)):
        account = replace(ALICE, account_id=number)
        tgt_pac(replace(facts(), account=account), KRBTGT, frames)
        assert len(frames._kept) == held


def test_accounts_held_by_tgt_pacs_are_bounded_by_their_weight() -> None:
    """Accounts full of key credentials, which the store drops at 48 MiB, are not kept alive."""
    text = "x" * 100_000
    credentials = tuple(KeyCredential(text=text, usable=False) for _ in range(20))
    frames = TgtFrames()
    for number in range(40):
        account = replace(ALICE, account_id=number, key_credentials=credentials)
        tgt_pac(replace(facts(), account=account), KRBTGT, frames)
        kept = sum(frame.weight for frame in frames._kept.values())
        assert 2 * len(text) * len(credentials) < kept == frames._weight
        assert kept <= build.MAX_TGT_FRAMES_WEIGHT
    assert len(frames._kept) < 10
    before = frames._weight
    tgt_pac(replace(facts(), account=replace(ALICE, account_id=39)), KRBTGT, frames)
    assert frames._weight < before
