"""Workers tell of logon certificates without ever waiting."""

from kdc.server.leaves import MAX_LEAF_BYTES, LeafTeller, leaf_pair, next_leaf


def test_what_is_told_is_read_in_order_and_whole() -> None:
    """One packet is one certificate; too large a one is not told."""
    reader, writer = leaf_pair()
    tell = LeafTeller(writer)
    for certificate in (b"one", b"x" * (MAX_LEAF_BYTES + 1), b"y" * MAX_LEAF_BYTES):
        tell(certificate)
    assert next_leaf(reader) == b"one"
    assert next_leaf(reader) == b"y" * MAX_LEAF_BYTES
    assert next_leaf(reader) is None


def test_nobody_waits_for_a_reader_that_is_stuck_or_gone() -> None:
    """What finds no room is lost; the logon goes on."""
    reader, writer = leaf_pair()
    tell = LeafTeller(writer)
    for _ in range(1000):
        tell(b"z" * MAX_LEAF_BYTES)
    kept = 0
    while next_leaf(reader):
        kept += 1
    assert 0 < kept < 1000
    tell(b"again")
    assert next_leaf(reader) == b"again"
    reader.close()
    tell(b"gone")
