"""The calldata that publishes an audit log's head."""

from __future__ import annotations

import pytest

from adyton.chain.auditanchor import PublicationError, PublishedHead

HEAD = PublishedHead("11" * 32, 7, "22" * 32)
CALLDATA = (
    "616479746f6e2f61756469742d686561642f31" + "00" * 6 + "11" * 32 + "0000000000000007" + "22" * 32
)  # fixed: another form would make every published head unreadable


def test_the_vector() -> None:
    assert HEAD.to_calldata().hex() == CALLDATA
    assert PublishedHead.of_calldata(bytes.fromhex(CALLDATA)) == HEAD


@pytest.mark.parametrize(
    "data",
    [b"", bytes(97), HEAD.to_calldata()[:-1], HEAD.to_calldata() + b"\0", b"A" + HEAD.to_calldata()[1:]],
    ids=["none", "zeros", "cut", "longer", "another domain"],
)
def test_other_bytes(data: bytes) -> None:
    with pytest.raises(PublicationError):
        PublishedHead.of_calldata(data)
