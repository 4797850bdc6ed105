"""Partial TGTs: what gets a full one (MS-KILE 3.3.5.7; seed flows 3.4)."""

from dataclasses import replace
from datetime import timedelta

import pytest

from directory.changes import AccountChanges
from directory.model import Sid
from kdc.config import KeyListSwitch
from kdc.pac import parse_pac, verify_pac
from kdc.pac.read import VerifiedPac
from kdc.wire.constants import AdType, KdcOption, PaType, TicketFlag
from kdc.wire.ms_kile import PaPacOptions
from kdc.wire.rfc4120 import AuthorizationDataElement
from pki import asn1
from tests.kdc.builders import NOW, Kdc, body_for, key_of, name, padata, random_keys, refused
from tests.kdc.cloud_builders import (
    NUMBER,
    TO_KRBTGT,
    Partial,
    add_read_only_dc,
    ask_full,
    full,
    key_list_of,
    key_list_request,
    put_into,
    sid_of,
)
from tests.kdc.fast_builders import Armor, FastAsRequest, FastTgsRequest, ask_fast
from tests.kdc.s4u_builders import change, delegate
from tests.kdc.tgs_builders import (
    LATER,
    TGS_BODY,
    OpenedTgs,
    TgsRequest,
    if_relevant,
    krbtgt_key,
    open_tgs_reply,
    pac_of,
    password_tgt,
    ready,
    second_tickets,
    service_ticket,
)

FORWARD = replace(TO_KRBTGT, kdc_options=KdcOption.FORWARDED)


@pytest.fixture
def cloud(kdc: Kdc) -> Kdc:
    """A realm with one read-only DC."""
    add_read_only_dc(kdc)
    return kdc


def tgt_pac(kdc: Kdc, opened: OpenedTgs) -> VerifiedPac:
    """Verify the PAC of a full TGT with our own krbtgt's key."""
    key = ready(krbtgt_key(kdc, opened.tgs_rep.ticket))
    pac = parse_pac(pac_of(opened.ticket))
    return verify_pac(pac, server_key=key, krbtgt_keys=(key,), ticket=None)


def test_partial_tgt_gets_a_full_one(cloud: Kdc) -> None:
    """Sealed and signed by our own krbtgt, with everything that the directory knows."""
    put_into(cloud, "Staff", "pat")
    opened = full(Partial(kdc=cloud))
    assert opened.tgs_rep.ticket.enc_part.kvno == 1
    pac = tgt_pac(cloud, opened)
    staff = cloud.store.group_by_name("Staff")
    assert staff is not None
    assert pac.logon_info.group_ids == (513, staff.sid.rid)
    assert pac.logon_info.extra_sids == (Sid(18, (1,)),)
    assert pac.requestor == sid_of(cloud, "pat")
    assert pac.attributes == 2
    # And it is one that is good for more.
    web = service_ticket(cloud, TgsRequest(tgt=opened.tgt))
    assert web.ticket.cname == name("pat")


def test_partial_tgt_gets_a_service_ticket_at_once(cloud: Kdc) -> None:
    """Samba's domain controllers do it; the PAC is rebuilt just so."""
    opened = full(Partial(kdc=cloud), body=TGS_BODY)
    assert opened.tgs_rep.ticket.sname.name_string == ("host", "web.lab.test")
    key = opened.sealed_with
    assert key is not None


@pytest.mark.parametrize("number", [1, 0x7FFF, 0x8000, 0xFFFF])
@pytest.mark.parametrize("low", [0, 1, 0xBEEF])
@pytest.mark.parametrize("signed", [True, False])
def test_number_is_the_upper_half_of_a_32_bit_kvno(
    kdc: Kdc, number: int, low: int, signed: bool
) -> None:
    """MS-KILE 3.1.5.8: negative from 0x8000 on; the lower half decides nothing."""
    add_read_only_dc(kdc, number)
    kvno = number << 16 | low
    if signed and number >= 0x8000:
        kvno -= 1 << 32
    assert full(Partial(kdc=kdc, number=number, kvno=kvno)).tgs_rep.ticket.enc_part.kvno == 1


@pytest.mark.parametrize("identifier", [None, NUMBER])
def test_signatures_are_taken_with_and_without_the_number(
    cloud: Kdc, identifier: int | None
) -> None:
    """MS-PAC 2.8: RODCIdentifier; impacket leaves it out."""
    full(Partial(kdc=cloud, identifier=identifier))


def test_pac_without_logon_info_is_enough(cloud: Kdc) -> None:
    """REQUESTOR says who it is; of the cloud's own PAC no more than that is documented."""
    full(Partial(kdc=cloud, change_buffers=lambda b: {k: v for k, v in b.items() if k != 1}))


def test_key_before_the_last_rotation_is_alive(cloud: Kdc) -> None:
    """And the one before that is not (row X07)."""
    old = Partial(kdc=cloud).sealing_key()
    number = cloud.account_id(f"krbtgt_{NUMBER}")
    for kvno in (2, 3):
        cloud.store.set_keys(number, random_keys("new", kvno), keep_generations=1)
        outcome, _ = ask_full(Partial(kdc=cloud, key=old))
        assert outcome.code == (0 if kvno == 2 else 31)


def test_several_read_only_dcs_have_keys_and_lists_of_their_own(cloud: Kdc) -> None:
    """What one is denied the other may be allowed."""
    put_into(cloud, "Branch", "bob")
    add_read_only_dc(cloud, 7, allow=("Branch",))
    assert ask_full(Partial(kdc=cloud, number=7, who="bob"))[0].code == 0
    assert ask_full(Partial(kdc=cloud, number=7, who="pat"))[0].code == 20
    assert ask_full(Partial(kdc=cloud, who="pat"))[0].code == 0


def test_nothing_of_the_partial_pac_survives(cloud: Kdc) -> None:
    """Row X05: groups, extra SIDs, asserted identities, other authorization data, the transited
    realms and the flags are what the holder of the key wrote.
    """
    admins = cloud.store.domain_sid.with_rid(512)
    forged = Partial(
        kdc=cloud,
        groups=(cloud.store.domain_sid.with_rid(513), admins),
        extra_sids=(Sid(5, (32, 544)), Sid(18, (4,)), Sid(5, (21, 1, 2, 3, 519))),
        authorization_data=lambda pac: (
            if_relevant((AdType.WIN2K_PAC, pac)),
            if_relevant((97, b"strong")),
            AuthorizationDataElement(ad_type=4, ad_data=b"0"),
        ),
        flags=Partial(kdc=cloud).flags
        | TicketFlag.HW_AUTHENT
        | TicketFlag.OK_AS_DELEGATE
        | TicketFlag.ANONYMOUS,
        alter=lambda part: replace(part, transited=replace(part.transited, contents=b"EVIL.TEST")),
    )
    opened = full(forged)
    pac = tgt_pac(cloud, opened)
    assert pac.logon_info.group_ids == (513,)
    assert pac.logon_info.extra_sids == (Sid(18, (1,)),)
    assert len(opened.ticket.authorization_data or ()) == 1
    assert opened.ticket.transited.contents == b""
    taken = TicketFlag.HW_AUTHENT | TicketFlag.OK_AS_DELEGATE | TicketFlag.ANONYMOUS
    assert not opened.ticket.flags & (taken | TicketFlag.INITIAL)


def test_life_is_bound_by_policy(cloud: Kdc) -> None:
    """A stolen key of the cloud's gets nobody further than max_life."""
    opened = full(
        Partial(kdc=cloud, endtime=NOW + timedelta(days=900)),
        body=replace(TO_KRBTGT, till=NOW + timedelta(days=900)),
    )
    assert opened.ticket.endtime == NOW + timedelta(hours=10)


def test_renewed_and_validated_like_any_other(cloud: Kdc) -> None:
    """As with Windows' and Samba's domain controllers."""
    renew = replace(TO_KRBTGT, kdc_options=KdcOption.RENEW | KdcOption.RENEWABLE)
    assert full(Partial(kdc=cloud), body=renew).tgs_rep.ticket.enc_part.kvno == 1
    invalid = Partial(kdc=cloud)
    invalid.flags |= TicketFlag.INVALID
    validate = replace(TO_KRBTGT, kdc_options=KdcOption.VALIDATE)
    assert not full(invalid, body=validate).ticket.flags & TicketFlag.INVALID


def test_second_ticket_of_user_to_user_may_be_partial(cloud: Kdc) -> None:
    """As with Windows' and Samba's domain controllers; a denied user's may not."""
    tgt = password_tgt(cloud)
    partial = Partial(kdc=cloud, who="bob")
    second = partial.build()
    sent = TgsRequest(tgt=tgt, body=second_tickets(second, user="bob")).build()
    opened = open_tgs_reply(cloud.ask(sent.message, at=LATER), sent, cloud, second)
    assert opened.tgs_rep.ticket.enc_part.kvno is None
    put_into(cloud, "Domain Admins", "bob")
    sent = TgsRequest(tgt=tgt, body=second_tickets(second, user="bob")).build()
    assert cloud.ask(sent.message, at=LATER).code == 20


def test_s4u2proxy_with_a_partial_tgt(cloud: Kdc) -> None:
    """The service is who it says by every check; what it may do is the directory's to say."""
    change(cloud, "pc1$", allowed_to_delegate_to=("host/web.lab.test",))
    put_into(cloud, "Branch", "pc1$")
    add_read_only_dc(cloud, 7, allow=("Branch",))
    evidence = service_ticket(
        cloud, TgsRequest(tgt=password_tgt(cloud), body=replace(TGS_BODY, sname=name("pc1$")))
    )
    tgt = Partial(kdc=cloud, number=7, who="pc1$").build()
    outcome, _ = delegate(cloud, tgt, evidence.tgs_rep.ticket)
    assert outcome.code == 0


def test_primary_group_counts(cloud: Kdc) -> None:
    """No list of members names it, in either list."""
    put_into(cloud, "Branch", "bob")
    branch = cloud.store.group_by_name("Branch")
    assert branch is not None
    change(cloud, "pat", primary_group_id=branch.sid.rid)
    assert ask_full(Partial(kdc=cloud))[0].code == 20  # no member of Domain Users any more
    add_read_only_dc(cloud, 7, allow=("Branch",))
    assert ask_full(Partial(kdc=cloud, number=7))[0].code == 0
    add_read_only_dc(cloud, 8, deny=("Branch",), allow=("Domain Users", "Branch"))
    assert ask_full(Partial(kdc=cloud, number=8))[0].code == 20


def test_account_itself_may_be_in_a_list(kdc: Kdc) -> None:
    """A list names accounts as well as groups."""
    add_read_only_dc(kdc, deny=())
    deny = AccountChanges(never_reveal=("CN=pat,CN=Users,DC=lab,DC=test",))
    assert ask_full(Partial(kdc=kdc))[0].code == 0
    kdc.store.update_account(kdc.account_id(f"Cloud{NUMBER}$"), deny)
    assert ask_full(Partial(kdc=kdc))[0].code == 20


def test_lists_of_a_moment_ago_do_not_count(cloud: Kdc) -> None:
    """A change is seen by the next request."""
    assert ask_full(Partial(kdc=cloud))[0].code == 0
    put_into(cloud, "Domain Admins", "pat")
    assert ask_full(Partial(kdc=cloud))[0].code == 20


def test_admin_count_alone_is_left_to_the_lists_by_a_switch(kdc: Kdc) -> None:
    """Windows looks at the lists alone."""
    add_read_only_dc(kdc)
    change(kdc, "pat", admin_count=True)
    outcome, _ = ask_full(Partial(kdc=kdc))
    assert (outcome.code, outcome.why) == (20, "the account is marked as privileged (adminCount)")
    kdc.configure(cloud_trust_deny_admin_count=False)
    assert ask_full(Partial(kdc=kdc))[0].code == 0


def test_read_only_dc_speaks_for_itself_when_it_has_a_key(cloud: Kdc) -> None:
    """A real one's machine; of the cloud there is none, so nobody can be it."""
    computer = f"Cloud{NUMBER}$"
    outcome, _ = ask_full(Partial(kdc=cloud, who=computer))
    assert outcome.code == 20
    cloud.store.set_keys(cloud.account_id(computer), random_keys("rodc"))
    assert ask_full(Partial(kdc=cloud, who=computer))[0].code == 0


def test_audit_record_names_the_read_only_dc(cloud: Kdc) -> None:
    """Of what was issued and of what was refused."""
    assert ask_full(Partial(kdc=cloud))[0].facts["read_only_dc"] == NUMBER
    put_into(cloud, "Domain Admins", "pat")
    refused, _ = ask_full(Partial(kdc=cloud))
    assert refused.facts["read_only_dc"] == NUMBER


def test_own_krbtgt_has_no_number_that_could_be_a_read_only_dcs(kdc: Kdc) -> None:
    """By construction: the store refuses it."""
    krbtgt = kdc.store.krbtgt().account_id
    kdc.store.set_keys(krbtgt, random_keys("krbtgt", 0xFFFF), keep_generations=1)
    with pytest.raises(Exception, match="kvno is not above 65535"):
        kdc.store.set_keys(krbtgt, random_keys("krbtgt", 0x10000), keep_generations=1)
    assert kdc.store.krbtgt().keys[0].kvno == 0xFFFF


def test_realms_own_krbtgt_is_not_taken_for_another(cloud: Kdc) -> None:
    """Several accounts are of that kind now."""
    add_read_only_dc(cloud, 1)
    cloud.store.forget()
    assert cloud.store.krbtgt().sam_account_name == "krbtgt"


# -- what else shows a TGT -------------------------------------------------------------------


def test_partial_tgt_armors_nothing(cloud: Kdc) -> None:
    """Row X09: whoever has the read-only DC's key would hold the armor of a password."""
    armor = Armor(tgt=Partial(kdc=cloud).build())
    outcome = ask_fast(cloud, FastAsRequest(armor=armor, body=body_for("pat")), LATER)
    assert refused(outcome) == (20, "a read-only DC's TGT armors nothing")


def test_partial_tgt_inside_its_own_armor(cloud: Kdc) -> None:
    """RFC 6113 5.4.2: a client that shows a partial TGT may armor the request with it."""
    tgt = Partial(kdc=cloud).build()
    request = FastTgsRequest(tgt=tgt, body=TO_KRBTGT)
    assert cloud.ask(request.build().message, at=LATER).code == 0


# -- key lists -------------------------------------------------------------------------------


def test_key_list_is_first_in_encrypted_pa_data(cloud: Kdc) -> None:
    """There are clients that look at the first element only."""
    cloud.configure(cloud_trust_key_list="on")
    options = padata(PaType.PAC_OPTIONS, asn1.encode(PaPacOptions(flags=1 << 28)))
    outcome, sent = ask_full(Partial(kdc=cloud), more=(options, *key_list_request(18, 18, 23)))
    opened = open_tgs_reply(outcome, sent, cloud)
    assert key_list_of(opened) == {18: key_of(18).key}
    assert [pa.padata_type for pa in opened.part.encrypted_pa_data or ()] == [162, 165, 167]
    facts = outcome.facts
    assert (facts["key_list"], facts["key_list_asked"], facts["key_list_given"]) == (
        "issued",
        (18, 23),
        (18,),
    )
    assert key_of(18).key.hex() not in repr(facts)


def test_key_list_has_the_nt_hash_where_the_realm_keeps_it(cloud: Kdc) -> None:
    """Windows' clients ask for 23 alone."""
    cloud.configure(cloud_trust_key_list="on")
    cloud.add_user("ned", keys=random_keys("ned"), nt_hash=bytes(range(16)))
    opened = full(Partial(kdc=cloud, who="ned"), more=key_list_request(23))
    assert key_list_of(opened) == {23: bytes(range(16))}


@pytest.mark.parametrize("switch", ["off", "on"])
def test_key_list_with_a_full_tgt_gives_nothing(cloud: Kdc, switch: KeyListSwitch) -> None:
    """Row X08: and where it is off nothing is given to anybody; the audit record says which."""
    cloud.configure(cloud_trust_key_list=switch)
    sent = TgsRequest(tgt=password_tgt(cloud), body=FORWARD, after=key_list_request(18)).build()
    outcome = cloud.ask(sent.message, at=LATER)
    assert key_list_of(open_tgs_reply(outcome, sent, cloud)) is None
    assert outcome.facts["key_list"] == ("off" if switch == "off" else "not a partial TGT")
    outcome, sent = ask_full(Partial(kdc=cloud), more=key_list_request(18))
    assert (key_list_of(open_tgs_reply(outcome, sent, cloud)) is None) == (switch == "off")


def test_replayed_authenticator_is_told_before_the_client_is_judged(cloud: Kdc) -> None:
    """Seed flows 3.4: times, authenticator and replay come first."""
    request = TgsRequest(tgt=Partial(kdc=cloud).build(), body=TO_KRBTGT)
    message = request.build().message
    assert cloud.ask(message, at=LATER).code == 0
    change(cloud, "pat", disabled=True)
    later = LATER + timedelta(minutes=2)  # no retransmission any more
    assert cloud.ask(message, at=later).code == 34
