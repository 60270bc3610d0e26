from __future__ import annotations

import hashlib
from itertools import combinations

import pytest

from adyton.attestation.anchors import AMD, AWS, INTEL, ROOTS, TrustAnchor, find, require_production
from adyton.attestation.errors import AttestationError
from adyton.base.errors import InputError

SIMULATED = TrustAnchor.simulated_root(b"a root")
FINGERPRINT = hashlib.sha256(b"a root").hexdigest()
EVERY_ROOT = [(vendor, root) for vendor, roots in ROOTS.items() for root in sorted(roots)]


def test_every_vendor_has_roots_of_its_own() -> None:
    assert {vendor: len(roots) for vendor, roots in ROOTS.items()} == {"intel": 1, "amd": 3, "aws": 1}
    assert not [pair for pair in combinations(ROOTS.values(), 2) if pair[0] & pair[1]]
    assert all(len(bytes.fromhex(root)) == 32 and root == root.lower() for _vendor, root in EVERY_ROOT)


@pytest.mark.parametrize(("vendor", "root"), EVERY_ROOT, ids=[f"{vendor} {root[:8]}" for vendor, root in EVERY_ROOT])
def test_a_vendors_root_is_accepted_by_its_own_anchor_for_its_own_technology_only(vendor: str, root: str) -> None:
    everything = (INTEL, AMD, AWS, SIMULATED)
    assert find(everything, root, "root", vendor=vendor).tier == vendor
    for other in set(ROOTS) - {vendor}:
        for anchors in (everything, (TrustAnchor(vendor),), (TrustAnchor(other),)):
            with pytest.raises(AttestationError) as caught:
                find(anchors, root, "root", vendor=other)
            assert caught.value.code == "attestation.chain.anchor"
    with pytest.raises(InputError):
        TrustAnchor(f"sim:{root}")


def test_a_simulated_root_is_accepted_where_it_is_named_and_says_what_it_is() -> None:
    for vendor in ROOTS:
        found = find((INTEL, AMD, AWS, SIMULATED), FINGERPRINT, "Simulated root", vendor=vendor)
        assert found == SIMULATED
        assert found.simulated
        with pytest.raises(AttestationError, match="does not say that it is Simulated"):
            find((SIMULATED,), FINGERPRINT, "ARK-Milan", vendor=vendor)


@pytest.mark.parametrize("anchors", [(), (INTEL, AMD, AWS), (TrustAnchor.simulated_root(b"another"),)])
def test_other_roots_are_accepted_by_none(anchors: tuple[TrustAnchor, ...]) -> None:
    with pytest.raises(AttestationError) as caught:
        find(anchors, FINGERPRINT, "Simulated root", vendor="amd")
    assert caught.value.code == "attestation.chain.anchor"
    assert FINGERPRINT in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    "tier", ["", "Intel", "arm", "sim:", "sim:" + "0" * 63, "sim:" + "A" * 64, "sim:" + "0" * 65, " aws"]
)
def test_other_names_are_no_anchors(tier: str) -> None:
    with pytest.raises(InputError) as caught:
        TrustAnchor(tier)
    assert caught.value.code == "attestation.anchor.name"


def test_production_takes_vendors_only() -> None:
    require_production((INTEL, AMD, AWS))
    with pytest.raises(AttestationError) as caught:
        require_production((INTEL, SIMULATED))
    assert caught.value.code == "attestation.anchor.simulated"
