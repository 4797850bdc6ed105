"""Record the inputs that the fuzz targets start from: `python -m tests.fuzz.make_corpus`.

Made once and kept in the tree. A new run gives other key-agreement keys and signatures; the
accounts' keys are derived from their names (`tests.fuzz.realm`), so old records stay valid.
"""

import base64
import hashlib
import json
import re
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import ocsp

from directory.keycredential import KeySource, NewKeyCredential, encode_blob, format_dn_binary
from directory.keymaterial import MaterialForm, encode_key_material
from directory.keytab import KeytabEntry, encode_keytab
from directory.model import Sid
from directory.security_descriptor import encode_allowed_to_act
from kdc.crypto.etypes import EncType, KeyUsage, ProtocolKey, decrypt
from kdc.crypto.pkinit_kdf import ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512
from kdc.exchange.fast_cookie import HEADER, make_cookie
from kdc.exchange.freshness import make_freshness_token
from kdc.formats.ccache import Ccache, Credential, Principal, Setting, encode_ccache
from kdc.pac import DelegationInfo, parse_pac, split_ticket
from kdc.pac.buffers import encode_delegation_info
from kdc.server.framing import frame
from kdc.wire.constants import KdcOption, NameType, PaType, TypedData
from kdc.wire.ms_kkdcp import KdcProxyMessage
from kdc.wire.rfc3244 import ChangePasswdData, encode_frame
from kdc.wire.rfc4120 import (
    AUTHORIZATION_DATA,
    ETYPE_INFO2,
    ApReq,
    AsRep,
    AuthorizationDataElement,
    EncAsRepPart,
    EncryptionKey,
    EncTicketPart,
    EtypeInfo2Entry,
    HostAddress,
    KdcReqBody,
    LastReqEntry,
    PaData,
    PaEncTsEnc,
    TransitedEncoding,
)
from kdc.wire.rfc4556 import (
    TD_CMS_DIGEST_ALGORITHMS,
    AlgorithmIdentifier,
    KdcDhKeyInfo,
    PaChecksum2,
    PkAuthenticator,
    typed_data,
)
from kdc.wire.rfc6113 import FastOption, KrbFastReq
from pki import asn1, ca, der, names, oids, x500
from pki.certificate import Certificate
from pki.keys import public_key_from_cryptography, public_key_from_spki
from pki.ocsp import encode_ocsp_request
from pki.ocsp_bundle import encode_bundle
from tenant.keys.tpm import split_statement
from tests.fuzz import realm
from tests.fuzz.targets import CORPUS, attestation, ocsp_request, recorded
from tests.fuzz.targets.fast import pats_tgt
from tests.fuzz.targets.kdc_reply import entropy
from tests.kdc import builders, fast_builders
from tests.kdc.builders import BODY, ENCTYPES, NOW, REALM, PkinitRequest, body_for, padata
from tests.kdc.explain import captures
from tests.kdc.fast_builders import Armor, Wrapping
from tests.tenant.device_requests import device_request, forged_request
from tests.tenant.soft_tpm import Claim

_READ_BUFFERS = (1, 10, 12, 17, 18)  # those with contents, no signatures
_VECTORS = Path(__file__).resolve().parents[1] / "vectors"
_CONF = Path(__file__).resolve().parents[2] / "conf"


def _write(target: str, **inputs: bytes) -> None:
    folder = CORPUS / target
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in inputs.items():
        (folder / name.replace("_", "-")).write_bytes(data)


def _checksum2(auth: PkAuthenticator) -> PkAuthenticator:
    return replace(
        auth,
        pa_checksum2=PaChecksum2(
            checksum=builders.body_digest(BODY, "sha256"),
            algorithm_identifier=AlgorithmIdentifier(algorithm=oids.SHA256),
        ),
    )


def _pkinit() -> dict[str, PkinitRequest]:
    """Describe the kinds of PKINIT request that clients send."""
    alice, bob = realm.hello("alice"), realm.hello("bob")
    token = make_freshness_token(realm.kdc().store.krbtgt(), NOW, builders.client_entropy)
    kdfs = (ID_PKINIT_KDF_AH_SHA256, ID_PKINIT_KDF_AH_SHA512)
    return {
        "alice_p256": PkinitRequest(signer=alice),
        "alice_p256_nonce": PkinitRequest(signer=alice, dh_nonce=bytes(range(32))),
        "alice_p256_kdf": PkinitRequest(signer=alice, kdfs=kdfs, dh_nonce=bytes(32)),
        "alice_modp14": PkinitRequest(signer=alice, group="modp14"),
        "alice_modp14_freshness": PkinitRequest(
            signer=alice,
            group="modp14",
            dh_nonce=bytes(range(32)),
            freshness_token=token,
            cms_types=(oids.ECDSA_WITH_SHA256, oids.SHA256_WITH_RSA),
            change_authenticator=_checksum2,
        ),
        "alice_p384": PkinitRequest(signer=alice, group="p384", kdfs=kdfs),
        "bob_p256": PkinitRequest(
            signer=bob,
            body=replace(
                body_for("bob@LAB.TEST", name_type=NameType.ENTERPRISE),
                sname=builders.name("host", "web.lab.test"),
                addresses=(HostAddress(addr_type=20, address=b"WORKSTATION     "),),
            ),
            before=(padata(PaType.REQ_ENC_PA_REP),),
        ),
    }


def as_requests() -> None:
    """Record AS-REQs and AuthPacks."""
    requests, packs = {}, {}
    for name, request in _pkinit().items():
        sent = request.build()
        requests[name] = sent.message
        packs[name] = asn1.encode(sent.auth_pack)
    canonical = replace(body_for("PAT"), kdc_options=KdcOption.CANONICALIZE | KdcOption.RENEWABLE)
    for etype in ENCTYPES:
        stamp = builders.enc_timestamp(builders.key_of(etype))
        body = body_for("pat") if etype % 2 else canonical
        requests[f"pat_etype{etype}"] = builders.as_req(body, stamp)
    requests["nobody_no_padata"] = builders.as_req(body_for("pat"))
    requests["nobody_asks_freshness"] = builders.as_req(BODY, padata(PaType.AS_FRESHNESS))
    requests["nobody_unknown"] = builders.as_req(
        body_for("mallory", "x"), padata(PaType.AS_FRESHNESS)
    )
    _write("as_req", **requests)
    _write("as_req_signed", **packs)
    _write("auth_pack", **packs)


def tgs_requests() -> None:
    """Record TGS-REQs, and the parts that the holder of a TGT seals."""
    tgt, other = realm.new_tgt(), realm.new_tgt()
    own = builders.name("krbtgt", REALM, name_type=NameType.SRV_INST)
    subkey = EncryptionKey(keytype=18, keyvalue=bytes(range(32)))
    bodies = {
        "web": realm.tgs_body(),
        "renew": realm.tgs_body(sname=own, kdc_options=KdcOption.RENEW),
        "forward": realm.tgs_body(
            sname=own, kdc_options=KdcOption.FORWARDED | KdcOption.FORWARDABLE
        ),
        "user_to_user": realm.tgs_body(
            sname=builders.name("pat"),
            kdc_options=KdcOption.ENC_TKT_IN_SKEY,
            additional_tickets=(other.ticket,),
        ),
    }
    requests, sealed = {}, {}
    for name, value in bodies.items():
        body = asn1.encode(value)
        requests[f"pat_{name}"] = realm.tgs_req(tgt, body, realm.authenticator(tgt, body, subkey))
        sealed[f"body_{name}"] = b"\x01" + body
    # A ticket of the target's own making is not known here: its authenticator proves nothing.
    body = asn1.encode(bodies["web"])
    sealed["authenticator"] = b"\x00" + realm.authenticator(tgt, body, subkey)
    data = (AuthorizationDataElement(ad_type=1, ad_data=b"\x30\x00"),)
    sealed["authorization_data"] = b"\x02" + asn1.encode_as(AUTHORIZATION_DATA, data)
    sealed["ticket"] = b"\x03" + asn1.encode(
        EncTicketPart(
            flags=0x50E00000,
            key=subkey,
            crealm=REALM,
            cname=builders.name("pat"),
            transited=TransitedEncoding(tr_type=1, contents=b""),
            authtime=NOW,
            endtime=NOW + timedelta(hours=10),
            authorization_data=data,
        )
    )
    _write("tgs_req", **requests)
    _write("tgs_req_sealed", **sealed)


def fast_requests() -> None:
    """Record the parts of armored requests; the target seals them with keys of its own."""
    tgt = Armor(tgt=pats_tgt(), ctime=NOW)
    key = tgt.key
    as_body, tgs_body = asn1.encode(fast_builders.PAT), asn1.encode(realm.tgs_body())
    hiding = Wrapping(options=FastOption.HIDE_CLIENT_NAMES)
    ap_req = tgt.value()
    value = hiding.wrap(key, ap_req, as_body, fast_builders.PAT, ())

    def inside(body: KdcReqBody, *padata: PaData) -> bytes:
        return asn1.encode(
            KrbFastReq(fast_options=FastOption.HIDE_CLIENT_NAMES, padata=padata, req_body=body)
        )

    sealed = asn1.decode(ApReq, ap_req.armor_value).authenticator.cipher
    authenticator = decrypt(tgt.tgt.session, KeyUsage.AP_REQ_AUTHENTICATOR, sealed)
    stamp = PaEncTsEnc(patimestamp=NOW, pausec=7)
    store = realm.kdc().store
    cookie = make_cookie(store.krbtgt(), fast_builders.PAT.cname, NOW, builders.client_entropy)
    asked = (padata(PaType.REQ_ENC_PA_REP), padata(PaType.AS_FRESHNESS))
    _write(
        "fast",
        value=b"\x00" + value.padata_value,
        armor=b"\x01" + ap_req.armor_value,
        authenticator=b"\x02" + authenticator,
        inside_as=b"\x03" + inside(fast_builders.PAT, *asked),
        inside_tgs=b"\x04" + inside(asn1.decode(KdcReqBody, tgs_body)),
        challenge=b"\x05" + asn1.encode(stamp),
        cookie=b"\x06" + cookie.padata_value[len(HEADER) :],
    )


def pacs() -> None:
    """Record a TGT's inside, its PAC and each of the PAC's buffers."""
    sealed = realm.new_tgt().ticket.enc_part
    (key,) = (k for k in builders.random_keys("krbtgt") if k.etype == sealed.etype)
    plain = decrypt(ProtocolKey(EncType(key.etype), key.key), KeyUsage.TICKET, sealed.cipher)
    octets = split_ticket(plain).pac
    assert octets is not None
    places = parse_pac(octets).buffers
    buffers = {
        f"buffer_{kind}": octets[at : at + size]
        for kind, (at, size) in places.items()
        if kind in _READ_BUFFERS
    }
    delegation = DelegationInfo(proxy_target="web", transited=("host/web.lab.test@LAB.TEST",))
    _write(
        "pac", pac=octets, ticket=plain, delegation=encode_delegation_info(delegation), **buffers
    )


def signed_data() -> None:
    """Record what MIT's and Heimdal's clients signed, and our own."""
    cases = json.loads((_VECTORS / "cms_clients.json").read_text())
    captured = {case["id"].replace("-", "_"): bytes.fromhex(case["signed_data"]) for case in cases}
    own = {name: request.build().signed for name, request in list(_pkinit().items())[:2]}
    _write("cms_signed_data", **captured, **own)


def _rsa_certificates() -> dict[str, bytes]:
    cases = json.loads((_VECTORS / "cms_clients.json").read_text())
    return {
        case["id"].replace("-", "_"): bytes.fromhex(case["certificate"])
        for case in cases
        if case["certificate"]
    }


def key_credentials() -> None:
    """Record blobs with every form of key material, the material alone, and DN-Binary texts."""
    keys = [
        public_key_from_spki(Certificate(data).subject_public_key_info)
        for data in _rsa_certificates().values()
    ]
    rsa_key = next(key for key in keys if key.n)
    blobs, texts = {}, {}
    for form in (
        MaterialForm.BCRYPT,
        MaterialForm.RSA_PUBLIC_KEY,
        MaterialForm.SPKI,
        MaterialForm.TPM,
    ):
        new = NewKeyCredential(
            public_key=rsa_key,
            material=form,
            created=NOW,
            source=KeySource.AZURE_AD if form is MaterialForm.TPM else KeySource.AD,
            device_id=UUID(int=7),
            custom_key_information=b"\x01\x00",
            last_logon=NOW,
        )
        blobs[f"blob_{form}"] = encode_blob(new)
        blobs[f"material_{form}"] = encode_key_material(rsa_key, form)
    ec_key = NewKeyCredential(
        public_key=realm.public_key("alice"), material=MaterialForm.SPKI, created=NOW, source=None
    )
    blobs["blob_p256"] = encode_blob(ec_key)
    short = encode_blob(ec_key)
    for index, dn in enumerate(
        (
            "CN=alice,CN=Users,DC=lab,DC=test",
            'CN="Adams, Alice"; OU=\\"Staff\\" + UID=7 , dc = LAB,DC=test',
            "<GUID=00112233445566778899aabbccddeeff>;<SID=S-1-5-21-1-2-3-500>;CN=alice,DC=lab",
            "2.5.4.3=\\c3\\a9\\ ,O=\\#hash,L=",
        )
    ):
        texts[f"dn_{index}"] = dn.encode()
        texts[f"value_{index}"] = format_dn_binary(short, dn).encode()
    _write("key_credential", **blobs)
    _write("distinguished_name", **texts)


def certificates() -> None:
    """Record certificates, names, subjectAltNames and SID extensions."""
    san = names.encode_subject_alt_name(
        names.upn_name("alice@lab.test"),
        names.pkinit_name(names.krbtgt_name(REALM)),
        names.dns_name("dc1.lab.test"),
        names.email_name("alice@lab.test"),
        names.uri_name(names.encode_sid_uri("S-1-5-21-1-2-3-500")),
    )
    name = (
        (x500.NameAttribute(oids.ID_DOMAIN_COMPONENT, "test"),),
        (x500.NameAttribute(oids.ID_AT_COUNTRY, "DE"),),
        (
            x500.NameAttribute(oids.ID_AT_COMMON_NAME, ' #a"b,c+d=e\\ '),
            x500.NameAttribute("1.2.3.4", b"\x04\x02hi"),
            x500.NameAttribute(oids.ID_AT_STATE_OR_PROVINCE, "Zürich"),
        ),
    )
    _write(
        "certificate_names",
        hello_p256=realm.hello("alice").certificate_der,
        kdc=realm.kdc_certificate().certificate_der,
        root=realm.root().certificate_der,
        san=san,
        sid=names.encode_sid_extension("S-1-5-21-1-2-3-500"),
        name=x500.encode_name(name),
        **_rsa_certificates(),
    )


def framing() -> None:
    """Record streams: whole messages, an empty one, a refused length."""
    messages = (b"a" * 90, b"", b"b", b"c" * 700)
    stream = b"".join(map(frame, messages))
    plan = (b"\x00\x03\x10\xff" * len(stream))[: len(stream)]
    refused = frame(b"ok") + b"\x80\x00\x00\x01rest"
    _write("framing", several=plan + stream, refused=b"\x01" * len(refused) + refused)


def config() -> None:
    """Record every key of the documented configuration, and some short ones."""
    text = (_CONF / "kdc.toml").read_text()
    # Without its comments: an input of a target is shorter than they are.
    keys = [line for _, line in re.findall(r"^(#?)([a-z][\w.]* = .*\n)", text, re.MULTILINE)]
    _write(
        "config",
        every_key="".join(keys).encode(),
        small=b'realm = "LAB.TEST"\n',
        switches=b'compat = "windows"\nrealm = "A"\nlegacy_rc4 = true\nworkers = 2\n'
        b'listen = ["*:88", "[::1]:88"]\nsupported_enctypes = "aes256-cts:normal aes128-sha2"\n'
        b'max_life = "1d12h"\nclockskew = 300\nexempt_sources = ["192.0.2.0/24"]\n',
        wrong=b'realm = "LAB.TEST"\nmax_lfie = "10h"\n',
        table=b'[realm]\nx = 1\n"""a\nb"""\n',
        duration=b"1d2h3m4s\n",
        address=b"[2001:db8::1]:88\n",
    )


def kdc_replies() -> None:
    """Record answers of our own KDC, and the parts that a hostile one would seal or sign."""
    sent = _pkinit()["alice_modp14"].build()
    reply = realm.answer(sent.message).reply
    hints = realm.answer(builders.as_req(BODY, padata(PaType.AS_FRESHNESS))).reply
    password = realm.answer(
        builders.as_req(body_for("pat"), builders.enc_timestamp(builders.key_of(18)))
    ).reply
    group = realm.answer(PkinitRequest(signer=realm.hello("alice"), group="modp2").build().message)
    assert reply is not None
    assert hints is not None
    assert password is not None
    assert group.reply is not None
    part = EncAsRepPart(
        key=EncryptionKey(keytype=18, keyvalue=bytes(32)),
        last_req=(LastReqEntry(lr_type=0, lr_value=NOW),),
        nonce=int.from_bytes(entropy(4), "big") & 0x7FFFFFFF,
        flags=0x50E10000 & ~0x10000,
        authtime=NOW,
        starttime=NOW,
        endtime=NOW + timedelta(hours=10),
        srealm=REALM,
        sname=builders.KRBTGT,
    )
    info = KdcDhKeyInfo(
        subject_public_key=sent.pair.public, nonce=0, dh_key_expiration=NOW + timedelta(hours=1)
    )
    as_rep = asn1.decode(AsRep, reply)
    hint_data = builders.error_of(realm.answer(builders.as_req(BODY))).e_data or b""
    group_data = builders.error_of(group).e_data or b""
    etype_info = asn1.encode_as(ETYPE_INFO2, (EtypeInfo2Entry(etype=18, salt="x"),))
    _write(
        "kdc_reply",
        hints=b"\x00" + hints,
        as_rep_first=b"\x00" + password,
        as_rep_pkinit=b"\x01" + reply,
        as_rep_password=b"\x01" + password,
        refused=b"\x01" + group.reply,
        method_data=b"\x02" + hint_data,
        etype_info=b"\x02" + etype_info,
        enc_part=b"\x03" + asn1.encode(part),
        pk_as_rep=b"\x04" + (as_rep.padata or ())[0].padata_value,
        key_info=b"\x05" + asn1.encode(info),
        kdc_certificate=b"\x06" + realm.kdc_certificate().certificate_der,
        root_certificate=b"\x06" + realm.root().certificate_der,
        dh_parameters=b"\x07" + group_data,
        digests=b"\x08" + _digests(),
    )


def _digests() -> bytes:
    listed = tuple(AlgorithmIdentifier(algorithm=oid) for oid in (oids.SHA512, oids.SHA384))
    return typed_data(
        TypedData.CMS_DIGEST_ALGORITHMS, asn1.encode_as(TD_CMS_DIGEST_ALGORITHMS, listed)
    )


def explanations() -> None:
    """Record requests worth an explanation, and captures of one."""
    requests = recorded("as_req") | recorded("tgs_req")
    names_of = ("alice-modp14-freshness", "pat-etype18", "nobody-unknown", "pat-user-to-user")
    small = requests["nobody-no-padata"]
    frame_of = captures.ethernet(captures.ipv4(captures.udp(small), 17))
    _write(
        "explanation",
        pcap=captures.pcap([frame_of]),
        pcapng=captures.pcapng([frame_of]),
        **{name: requests[name] for name in names_of},
    )


def key_files() -> None:
    """Record keytabs and credential caches."""
    entries = tuple(
        KeytabEntry(
            realm=REALM,
            components=("host", "web.lab.test"),
            timestamp=1_777_896_000,
            kvno=kvno,
            etype=etype,
            key=bytes(32),
        )
        for kvno, etype in ((1, 18), (300, 17))
    )
    client = Principal(realm=REALM, components=("alice",))
    krbtgt = Principal(realm=REALM, components=("krbtgt", REALM), name_type=2)
    credential = Credential(
        client=client,
        server=krbtgt,
        etype=18,
        session_key=bytes(32),
        authtime=NOW,
        starttime=NOW,
        endtime=NOW + timedelta(hours=10),
        renew_till=None,
        flags=0x50E00000,
        ticket=b"\x61\x00",
        addresses=(HostAddress(addr_type=2, address=bytes(4)),),
    )
    cache = Ccache(
        default_principal=client,
        credentials=(credential,),
        settings=(Setting(name="pa_type", principal=krbtgt, value=b"16"),),
        clock_offset_us=-1_500_000,
    )
    hole = b"\xff\xff\xff\xf8" + bytes(8)
    keytab = encode_keytab(entries)
    _write(
        "key_files",
        keytab=keytab,
        keytab_hole=keytab[:2] + hole + keytab[2:],
        ccache=encode_ccache(cache),
        principal=rb"host\/a/b\@c@LAB.TEST",
    )


def frames() -> None:
    """Record messages to kpasswd, and one that travels over HTTPS."""
    change = ChangePasswdData(
        newpasswd=b"New-Horse-8", targname=builders.name("pat"), targrealm=REALM
    )
    proxied = KdcProxyMessage(
        kerb_message=frame(builders.as_req(body_for("pat"))), target_domain=REALM, dclocator_hint=1
    )
    _write(
        "frames",
        kpasswd=encode_frame(1, b"\x6e\x03ap!", b"\x75\x05priv!"),
        kpasswd_error=encode_frame(1, b"", b"\x7e\x02no"),
        change=asn1.encode(change),
        change_own=asn1.encode(ChangePasswdData(newpasswd=b"x")),
        proxied=asn1.encode(proxied),
        proxied_reply=asn1.encode(KdcProxyMessage(kerb_message=frame(b"\x6b\x00"))),
    )


def security_descriptors() -> None:
    """Record descriptors that let nobody, one and two act."""
    sids = [Sid(5, (21, 1, 2, 3, number)) for number in (1104, 4444)]
    _write(
        "security_descriptor",
        nobody=encode_allowed_to_act(()),
        one=encode_allowed_to_act(sids[:1]),
        two=encode_allowed_to_act(sids),
    )


def crls() -> None:
    """Record lists of our own CA: nothing revoked, and two certificates."""
    authority = ca.create_root(REALM, NOW)
    revoked = [ca.RevokedCertificate(serial_number=serial, date=NOW) for serial in (7, 2**159 - 1)]
    _write(
        "crl",
        empty=ca.create_crl(authority, 1, [], NOW),
        two=ca.create_crl(authority, 2, revoked, NOW),
    )


def ocsp_requests() -> None:
    """Record requests as our own client and another library make them, about a fixed CA."""
    name, key = ocsp_request.ISSUER.subject, ocsp_request.ISSUER.subject_public_key()
    hashes_of = [hashlib.sha256(part).digest() for part in (name, key)]
    builder = ocsp.OCSPRequestBuilder().add_certificate_by_hash(
        hashes_of[0], hashes_of[1], ocsp_request.REVOKED, hashes.SHA256()
    )
    with_nonce = builder.add_extension(x509.OCSPNonce(bytes(16)), critical=False)
    stranger = builder.build().public_bytes(Encoding.DER).replace(hashes_of[1], bytes(32))
    _write(
        "ocsp_request",
        good=encode_ocsp_request(ocsp_request.GOOD, ocsp_request.ISSUER),
        unknown=encode_ocsp_request(2**159 - 1, ocsp_request.ISSUER),
        revoked=builder.build().public_bytes(Encoding.DER),
        nonce=with_nonce.build().public_bytes(Encoding.DER),
        stranger=stranger,
    )


def ocsp_responses() -> None:
    """Record what our responder answers, and a bundle of it."""
    requests = [
        encode_ocsp_request(serial, ocsp_request.ISSUER)
        for serial in (ocsp_request.GOOD, ocsp_request.REVOKED, 9)
    ]
    good, revoked, unknown = map(ocsp_request.answered, requests)
    bundle = encode_bundle({bytes(32): good, b"\xff" * 32: revoked})
    _write("ocsp_response", good=good, revoked=revoked, unknown=unknown, bundle=bundle)


def attestations() -> None:
    """Record an attestation in each form, one of another key, and the parts of one."""
    keys = [rsa.generate_private_key(65537, 2048).public_key() for _ in range(2)]
    good = Claim(key=keys[0], nonce=attestation.NONCE, signer=attestation.AIK)
    parts = split_statement(good.build())
    _write(
        "attestation",
        attest=parts.attest,
        public_area=parts.public_area,
        signature=parts.signature,
        good=good.build(),
        good_bare_public=replace(good, bare_public=True).build(),
        another_key=replace(good, key=keys[1]).build(),
    )


def device_requests() -> None:
    """Record requests and bodies as devices of each kind send them."""
    key = rsa.generate_private_key(65537, 2048)
    public = public_key_from_cryptography(key.public_key())
    nonce = der.encode_octet_string(b"the nonce")
    request = device_request(key)
    blob = encode_key_material(public, MaterialForm.BCRYPT)
    jwk = {
        "kty": "RSA",
        "n": base64.b64encode(public.n.to_bytes(256, "big")).decode(),
        "e": "AQAB",
    }
    particulars = {
        "TransportKey": base64.b64encode(blob).decode(),
        "TargetDomain": "lab.test",
        "DeviceType": "Windows",
        "OSVersion": "10.0",
        "DeviceDisplayName": "PC1",
    }
    certificate_request = {"Type": "pkcs10", "Data": base64.b64encode(request).decode()}
    join = {
        "CertificateRequest": certificate_request,
        **particulars,
        "JoinType": 0,
        "attributes": {"ReuseDevice": "true"},
    }
    identity = {"Type": "sha256signed", "Sid": "S-1-5-21-1-2-3-1201.x", "SignedBlob": "AAAA"}
    hybrid = {
        "CertificateRequest": certificate_request,
        "ServerAdJoinData": {**particulars, "ClientIdentity": identity},
        "JoinType": 6,
    }
    _write(
        "device_request",
        csr=request,
        nonce_csr=device_request(key, nonce=nonce),
        forged=forged_request(public, rsa.generate_private_key(65537, 2048)),
        blob=blob,
        jwk=json.dumps(jwk).encode(),
        join=json.dumps(join).encode(),
        hybrid=json.dumps(hybrid).encode(),
    )


def main() -> None:
    """Record everything, or what is named: `python -m tests.fuzz.make_corpus tgs_requests`."""
    for make in (
        as_requests,
        tgs_requests,
        fast_requests,
        pacs,
        signed_data,
        key_credentials,
        certificates,
        framing,
        config,
        kdc_replies,
        key_files,
        explanations,
        frames,
        security_descriptors,
        crls,
        ocsp_requests,
        ocsp_responses,
        attestations,
        device_requests,
    ):
        if len(sys.argv) == 1 or make.__name__ in sys.argv[1:]:
            make()


if __name__ == "__main__":
    main()
