"""The CAS's proof of itself: what it binds, and that certificates are renewed in time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from tests.platform.world import World, signer

from adyton.attestation.errors import AttestationError
from adyton.attestation.evidence import VerifiedEvidence
from adyton.base.errors import AdytonError
from adyton.base.secret import Secret
from adyton.cas.face.authority import Authority
from adyton.cas.face.identity import CasIdentityError, IdentityProof, identity_nonce, spki_of, verify_identity
from adyton.cas.face.prover import Prover
from adyton.platform.simulated.pki import SimulatedVendor

CAS = b"\xca" * 32
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
NONCE = b"\x01" * 32


def authority_at(now: datetime) -> Callable[[], Authority]:
    """Gives one authority, as a CAS that never exchanges it."""
    made = Authority.create(now)
    return lambda: made


@pytest.fixture
def world() -> World:
    return World(now=NOW)


@pytest.fixture
def prover(world: World) -> Prover:
    return Prover(world.platform(CAS), authority_at(NOW), world, anchors=[world.anchor], names=[], clock=world.clock)


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def proof_of(prover: Prover, nonce: bytes = NONCE) -> IdentityProof:
    answer = prover.identity(nonce)
    return IdentityProof(der(answer.certificate), der(answer.ca))


def verify(world: World, proof: IdentityProof, peer: bytes, nonce: bytes = NONCE) -> VerifiedEvidence:
    policy = world.policy(CAS)
    collateral = world.collateral()
    return verify_identity(
        proof, peer_certificate=peer, nonce=nonce, collateral=collateral, policy=policy, now=world.now
    )


def test_a_proof_holds_for_the_key_of_both_ports(world: World, prover: Prover) -> None:
    proof = proof_of(prover)
    assert verify(world, proof, proof.certificate).mrenclave == CAS
    again = proof_of(prover, b"\x02" * 32)
    assert again.certificate != proof.certificate
    assert spki_of(again.certificate) == spki_of(proof.certificate)


def test_a_proof_for_another_nonce(world: World, prover: Prover) -> None:
    proof = proof_of(prover)
    with pytest.raises(AttestationError) as caught:
        verify(world, proof, proof.certificate, b"\x02" * 32)
    assert caught.value.code == "attestation.freshness"


def test_another_authority_beside_genuine_evidence(world: World, prover: Prover) -> None:
    proof = proof_of(prover)
    swapped = IdentityProof(proof.certificate, Authority.create(NOW).root_der)
    with pytest.raises(AttestationError) as caught:
        verify(world, swapped, proof.certificate)
    assert caught.value.code == "attestation.freshness"


def test_another_key_than_the_connections(world: World, prover: Prover) -> None:
    other = Prover(world.platform(CAS), authority_at(NOW), world, anchors=[world.anchor], clock=world.clock)
    proof = proof_of(prover)
    with pytest.raises(CasIdentityError) as caught:
        verify(world, proof, proof_of(other).certificate)
    assert caught.value.code == "cas.identity.key"


@pytest.mark.parametrize("peer", [b"", b"\x30\x00", b"none"])
def test_a_peer_certificate_that_cannot_be_read(world: World, prover: Prover, peer: bytes) -> None:
    with pytest.raises(CasIdentityError):
        verify(world, proof_of(prover), peer)


def test_the_nonce_binds_both_parts() -> None:
    assert len({identity_nonce(b"a", b"bc"), identity_nonce(b"ab", b"c"), identity_nonce(b"a", b"bd")}) == 3


@pytest.mark.parametrize("nonce", [b"", bytes(15), bytes(65)])
def test_nonces_have_bounds(prover: Prover, nonce: bytes) -> None:
    with pytest.raises(AdytonError) as caught:
        prover.identity(nonce)
    assert caught.value.code == "cas.request.nonce"


def test_collateral_is_of_the_own_platform(world: World, prover: Prover) -> None:
    assert prover.collateral() == world.collateral()
    vendor = SimulatedVendor(Secret(b"another vendor of the same kind!"), signer("other vendor"))
    foreign = Prover(
        World(vendor, now=NOW).platform(CAS), authority_at(NOW), world, anchors=[world.anchor], clock=world.clock
    )
    with pytest.raises(AttestationError) as caught:
        foreign.collateral()
    assert caught.value.code == "attestation.chain.anchor"


def test_certificates_are_renewed_before_they_end(world: World, prover: Prover) -> None:
    rest, attested = prover.rest_context(), prover.attested_context()
    world.now = NOW + timedelta(minutes=29)
    assert (prover.rest_context(), prover.attested_context()) == (rest, attested)
    world.now = NOW + timedelta(minutes=30)
    assert prover.rest_context() is rest
    assert prover.attested_context() is not attested
    world.now = NOW + timedelta(hours=12)
    assert prover.rest_context() is not rest
    rest = prover.rest_context()
    world.now = NOW  # a clock that was set back
    assert prover.rest_context() is not rest


def test_an_exchanged_authority_is_on_the_rest_port_at_once(world: World) -> None:
    authorities = [Authority.create(NOW)]
    prover = Prover(
        world.platform(CAS), lambda: authorities[-1], world, anchors=[world.anchor], names=[], clock=world.clock
    )
    before = prover.rest_context()
    proof = proof_of(prover)
    authorities.append(authorities[0].succeed(NOW))
    assert prover.rest_context() is not before
    assert prover.rest_context() is prover.rest_context()
    following = proof_of(prover)
    assert (proof.authority, following.authority) == (authorities[0].root_der, authorities[1].root_der)
    assert verify(world, following, proof.certificate).mrenclave == CAS  # the key of the ports is the same
