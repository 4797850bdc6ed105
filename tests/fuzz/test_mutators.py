"""The mutator: lengths mended, the same damage for the same seed, and enough of it."""

from pki import der
from pki.errors import PkiError
from tests.fuzz.mutators import mutate, put, seeded, tree
from tests.kdc.builders import NOW, as_req, pk_as_req


def test_replacing_any_element_leaves_well_formed_headers() -> None:
    """Every length above the element follows, also those of strings that hold DER."""
    message = pk_as_req()
    nodes = tree(message)
    assert len(nodes) > 100
    for index in range(len(nodes)):
        for element in (b"", der.encode_octet_string(bytes(200))):
            changed = put(message, index, element)
            assert not changed or der.read_tlv(changed)[2] == len(changed)
    at = next(i for i, node in enumerate(nodes) if node.tag == der.GENERALIZED_TIME)
    same = message[nodes[at].start : nodes[at].end]
    assert put(message, at, same) == message


def test_tree_reaches_into_the_signed_auth_pack() -> None:
    """PA-DATA, PA-PK-AS-REQ, SignedData, eContent, AuthPack: strings within strings."""
    message = pk_as_req()
    times = [message[n.content : n.end] for n in tree(message) if n.tag == der.GENERALIZED_TIME]
    # till and rtime of the body, ctime of the AuthPack, notAfter of the certificate.
    assert len(times) == 4
    assert NOW.strftime("%Y%m%d%H%M%SZ").encode() in times


def test_same_seed_gives_the_same_damage() -> None:
    """Else a failure could not be repeated."""
    message, other = pk_as_req(), as_req()
    first = [mutate(seeded("x", n), message, (other,)) for n in range(50)]
    assert first == [mutate(seeded("x", n), message, (other,)) for n in range(50)]
    assert len(set(first)) > 45


def test_most_damage_gets_past_the_outer_lengths() -> None:
    """What only breaks the first length teaches nothing about what is behind it."""
    message = pk_as_req()
    rng = seeded("outer")
    whole = 0
    for _ in range(500):
        try:
            whole += der.open_tlv(mutate(rng, message), 0x6A) is not None
        except PkiError:
            continue
    assert whole > 300
