from __future__ import annotations

import hashlib
from typing import Any

import pytest

from adyton.attestation.anchors import INTEL, INTEL_ROOT_SHA256, TrustAnchor, require_production
from adyton.attestation.errors import AttestationError
from adyton.attestation.policy import QuotePolicy, Weakness, parse_tolerate
from adyton.base.errors import InputError

SIMULATED = TrustAnchor.simulated_root(b"a root certificate")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"anchors": ()}, "attestation.policy.anchors"),
        ({"mrenclaves": frozenset()}, "attestation.policy.unpinned"),
        ({"mrenclaves": frozenset(), "mrsigners": frozenset({bytes(32)})}, "attestation.policy.unpinned"),
        ({"mrenclaves": frozenset(), "isvprodid": 1}, "attestation.policy.unpinned"),
        ({"mrenclaves": frozenset({bytes(31)})}, "attestation.policy.measurement"),
        ({"mrsigners": frozenset({bytes(33)})}, "attestation.policy.measurement"),
        ({"ignore_advisories": frozenset({"SA-00334"})}, "attestation.policy.advisory"),
        ({"ignore_advisories": frozenset({"all"})}, "attestation.policy.advisory"),
    ],
)
def test_policies_that_mean_too_much_or_nothing_are_refused(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        QuotePolicy(**({"anchors": (INTEL,), "mrenclaves": frozenset({bytes(32)})} | arguments))
    assert caught.value.code == code


def test_a_signer_with_its_product_is_enough() -> None:
    assert QuotePolicy(anchors=(INTEL,), mrsigners=frozenset({bytes(32)}), isvprodid=0).mrenclaves == frozenset()


def test_advisories_are_ignored_by_name_or_all() -> None:
    one = QuotePolicy(
        anchors=(INTEL,), mrenclaves=frozenset({bytes(32)}), ignore_advisories=frozenset({"INTEL-SA-00334"})
    )
    assert one.ignores("INTEL-SA-00334")
    assert not one.ignores("INTEL-SA-00335")
    assert QuotePolicy(anchors=(INTEL,), mrenclaves=frozenset({bytes(32)}), ignore_advisories=frozenset("*")).ignores(
        "INTEL-SA-00335"
    )


def test_names_to_tolerate_are_those_of_session_documents() -> None:
    assert parse_tolerate(["debug-mode", "outdated-tcb"]) == {Weakness.DEBUG_MODE, Weakness.OUTDATED_TCB}
    with pytest.raises(InputError) as caught:
        parse_tolerate(["debug"])
    assert caught.value.code == "attestation.policy.tolerate"
    assert "debug-mode" in caught.value.hint


def test_anchors_have_tiers_and_fingerprints() -> None:
    assert (INTEL.tier, INTEL.simulated, INTEL.accepts(INTEL_ROOT_SHA256)) == ("intel", False, True)
    digest = hashlib.sha256(b"a root certificate").hexdigest()
    assert (SIMULATED.tier, SIMULATED.simulated, SIMULATED.accepts(digest)) == (f"sim:{digest}", True, True)


@pytest.mark.parametrize(
    "text", ["", "Intel", "sim:", "sim:" + "g" * 64, "sim:" + "A" * 64, "sim:" + INTEL_ROOT_SHA256]
)
def test_other_names_are_no_anchors(text: str) -> None:
    with pytest.raises(InputError) as caught:
        TrustAnchor(text)
    assert caught.value.code == "attestation.anchor.name"


def test_production_refuses_simulated_anchors() -> None:
    require_production([INTEL])
    with pytest.raises(AttestationError) as caught:
        require_production([INTEL, SIMULATED])
    assert caught.value.code == "attestation.anchor.simulated"


MRTD, TD = frozenset({bytes(48)}), {"mrenclaves": frozenset(), "mrtds": frozenset({bytes(48)})}


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"rtmrs": {0: MRTD}}, "attestation.policy.unpinned"),
        ({"mrconfigids": MRTD}, "attestation.policy.unpinned"),
        ({"mrservicetds": MRTD}, "attestation.policy.unpinned"),
        ({"mrenclaves": frozenset(), "rtmrs": {0: MRTD}}, "attestation.policy.unpinned"),
        (TD | {"mrtds": frozenset({bytes(32)})}, "attestation.policy.measurement"),
        (TD | {"rtmrs": {0: frozenset({bytes(47)})}}, "attestation.policy.measurement"),
        (TD | {"mrconfigids": frozenset({b""})}, "attestation.policy.measurement"),
        (TD | {"mrservicetds": frozenset({bytes(49)})}, "attestation.policy.measurement"),
        (TD | {"rtmrs": {4: MRTD}}, "attestation.policy.register"),
        (TD | {"rtmrs": {-1: MRTD}}, "attestation.policy.register"),
        (TD | {"rtmrs": {0: frozenset()}}, "attestation.policy.register"),
        ({"isvprodid": -1}, "attestation.policy.measurement"),
        ({"isvprodid": 0x10000}, "attestation.policy.measurement"),
        ({"min_isvsvn": -1}, "attestation.policy.measurement"),
    ],
)
def test_pins_that_cannot_mean_anything_are_refused(arguments: dict[str, Any], code: str) -> None:
    with pytest.raises(InputError) as caught:
        QuotePolicy(**({"anchors": (INTEL,), "mrenclaves": frozenset({bytes(32)})} | arguments))
    assert caught.value.code == code


def test_a_policy_knows_which_technologies_it_names() -> None:
    enclaves = QuotePolicy(anchors=(INTEL,), mrenclaves=frozenset({bytes(32)}))
    tds = QuotePolicy(anchors=(INTEL,), mrtds=MRTD, rtmrs={0: MRTD})
    signer = QuotePolicy(anchors=(INTEL,), mrtds=MRTD, mrsigners=frozenset({bytes(32)}))
    assert (enclaves.pins_enclaves, enclaves.pins_tds) == (True, False)
    assert (tds.pins_enclaves, tds.pins_tds) == (False, True)
    assert (signer.pins_enclaves, signer.pins_tds) == (False, True)  # a signer means nothing without its product
