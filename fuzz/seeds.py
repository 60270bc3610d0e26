"""Seeds for every target, made by code: nothing binary is kept.

Where a target needs an enclave, a certificate or a key, it is the one of the seeds, so that a reader gets past its
cryptographic checks and its later steps are reached too.
"""

from __future__ import annotations

import base64
import json
import struct
from datetime import timedelta
from functools import lru_cache

import cbor2
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import NameOID
from fuzz.specimen import NOW, Maker, enclave_body, simulated, td15_body, td_body
from tests.attestation.nitro_vendor import Enclave
from tests.attestation.snp_vendor import Machine
from tests.cas.documents import iexec_document
from tests.enclave.handmade import manifest as handmade_manifest
from tests.platform.world import World, signer

from adyton.attestation.collateral import bundle
from adyton.attestation.dcap.pck import SGX_EXTENSION
from adyton.attestation.formats.report_data import Claims, claims_bytes, legacy_report_data, report_data
from adyton.attestation.formats.sgx import KeyName, KeyPolicy, KeyRequest, TargetInfo
from adyton.attestation.ratls import forms as tls_forms
from adyton.attestation.ratls.certificate import make_certificate
from adyton.attestation.verdict import EvidenceKind
from adyton.enclave.sigstruct import sign
from adyton.platform.sealing import seal
from adyton.platform.simulated.qe import LocalPlatform

PURPOSE = "cas-config"
NONCE = bytes(range(32))
CONTEXT = b"fuzz"
PLAINTEXT = b"what was sealed"
_MEASUREMENT = b"\x01" * 32
_HEX32, _HEX48 = "ab" * 32, "cd" * 48


@lru_cache(maxsize=1)
def _maker() -> Maker:
    return Maker()


@lru_cache(maxsize=1)
def enclave() -> LocalPlatform:
    """An enclave that seals and quotes."""
    return World(now=NOW).platform(_MEASUREMENT)


def quotes() -> list[bytes]:
    """A genuine quote of every kind and version, and two with an end that must not be or may be there."""
    genuine = [each.quote for each in simulated()]
    return [*genuine, genuine[0] + b"\0", genuine[3] + bytes(64)]


def structures() -> list[bytes]:
    """SGX and TDX structures."""
    body = enclave_body()
    request = KeyRequest(KeyName.SEAL, keypolicy=KeyPolicy.MRENCLAVE)
    parts = (body.attributes, body, TargetInfo.of(body), request, td_body(), td15_body())
    return [*(each.to_bytes() for each in parts), enclave().report(TargetInfo.of(body), bytes(64))]


def sigstructs() -> list[bytes]:
    """Signed, for production and debug."""
    key, day = signer("developer"), NOW.date()
    return [
        sign(_MEASUREMENT, key, debug=debug, isvprodid=1, isvsvn=2, signed_on=day).to_bytes() for debug in (False, True)
    ]


def manifests() -> list[bytes]:
    """Canonical."""
    return [handmade_manifest().to_json(), handmade_manifest(isvprodid=7).to_json()]


def pck_extensions() -> list[bytes]:
    """Of a platform CA, and without what only those have."""
    leaf = x509.load_pem_x509_certificate(_maker().chain)
    value = leaf.extensions.get_extension_for_oid(SGX_EXTENSION).value
    assert isinstance(value, x509.UnrecognizedExtension)
    return [value.value, value.value[:300]]


def chains() -> list[bytes]:
    """PCK chain, issuer chains."""
    collateral = _maker().collateral()
    texts = (collateral.tcb_info_issuer_chain, collateral.pck_crl_issuer_chain)
    return [_maker().chain, _maker().chain + b"\0", *(text.encode() for text in texts)]


def certificate_list() -> list[bytes]:
    """Each certificate in DER, and the chain in PEM."""
    return [*(each.public_bytes(Encoding.DER) for each in x509.load_pem_x509_certificates(_maker().chain)), *chains()]


def crls() -> list[bytes]:
    """Both lists."""
    collateral = _maker().collateral()
    return [collateral.root_ca_crl, collateral.pck_crl]


def tcb_infos() -> list[bytes]:
    """Of SGX and TDX."""
    return [_maker().collateral(kind).tcb_info.encode() for kind in (EvidenceKind.SGX, EvidenceKind.TDX)]


def qe_identities() -> list[bytes]:
    """Of SGX and TDX."""
    return [_maker().collateral(kind).qe_identity.encode() for kind in (EvidenceKind.SGX, EvidenceKind.TDX)]


def collaterals() -> list[bytes]:
    """The JSON form, of SGX and TDX."""
    return [_maker().collateral(kind).to_json().encode() for kind in (EvidenceKind.SGX, EvidenceKind.TDX)]


def signed_documents() -> list[bytes]:
    """As certificate services answer."""
    c = _maker().collateral()
    return [
        b'{"tcbInfo":%s,"signature":"%s"}' % (c.tcb_info.encode(), c.tcb_info_signature.hex().encode()),
        b'{"enclaveIdentity":%s,"signature":"%s"}' % (c.qe_identity.encode(), c.qe_identity_signature.hex().encode()),
    ]


def ratls_certificates() -> list[bytes]:
    """Ours, and with a key of the other curve."""
    keys = (ec.derive_private_key(7, ec.SECP256R1()), ec.derive_private_key(7, ec.SECP384R1()))
    return [make_certificate(key, enclave(), PURPOSE, NONCE, now=NOW) for key in keys]


def certificate_with(extension: bytes) -> bytes:
    """A self-signed certificate; the first byte chooses the extension that the others are the value of."""
    oid = (*tls_forms.LEGACY_QUOTES, tls_forms.TAGGED_EVIDENCE)[extension[0] % 3 if extension else 0]
    key = ec.derive_private_key(7, ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "fuzz")])
    builder = x509.CertificateBuilder(
        name, name, key.public_key(), 1, NOW.replace(tzinfo=None), (NOW + timedelta(hours=1)).replace(tzinfo=None)
    )
    builder = builder.add_extension(x509.UnrecognizedExtension(oid, extension[1:]), critical=False)
    return builder.sign(key, SHA256(), ecdsa_deterministic=True).public_bytes(Encoding.DER)


def ratls_extensions() -> list[bytes]:
    """Tagged evidence of every form and a bare quote, for the key of :func:`certificate_with`."""
    key = ec.derive_private_key(7, ec.SECP256R1()).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    ours = claims_bytes(PURPOSE, spki, NONCE)
    values = [tls_forms.encode_tagged_evidence(enclave().quote(report_data(each)), each) for each in (ours, *claims())]
    return [*(b"\2" + each for each in values), b"\0" + enclave().quote(legacy_report_data(spki))]


def claims() -> list[bytes]:
    """Ours, and those of another implementation: without a purpose, with another hash."""
    key_hash = cbor2.dumps([8, bytes(64)], canonical=True)
    foreign = ({"pubkey-hash": key_hash}, {"pubkey-hash": cbor2.dumps([1, bytes(32)]), "nonce": NONCE})
    return [Claims(PURPOSE, bytes(32), NONCE).to_bytes(), *(cbor2.dumps(each, canonical=True) for each in foreign)]


def tagged_evidence() -> list[bytes]:
    """With each form of claims."""
    quote = simulated()[0].quote
    return [tls_forms.encode_tagged_evidence(quote, each) for each in claims()]


def sealed() -> list[bytes]:
    """Under both policies."""
    return [
        seal(enclave(), PLAINTEXT, policy=policy, context=CONTEXT)
        for policy in (KeyPolicy.MRENCLAVE, KeyPolicy.MRSIGNER)
    ]


def requests() -> list[bytes]:
    """Launch and prepare."""
    launch = {
        "op": "launch", "layout": "/image", "environment": {"A": "b"}, "volumes": {"data": "/host"},
        "host_paths": {"/in": "/host/in"}, "args": ["x"], "cas_address": "localhost:18765",
        "limits": {"memory_bytes": 1 << 30, "timeout_s": 60.0},
    }  # fmt: skip
    return [json.dumps(each).encode() for each in (launch, {"op": "prepare", "layout": "/image"})]


def frames() -> list[bytes]:
    """One message, several, one that is cut short, one too long."""
    message = b'{"op":"quote","report_data":"00"}'
    one = struct.pack(">I", len(message)) + message
    return [one, one * 3, one[:-1], struct.pack(">I", 1 << 30) + message, struct.pack(">I", 2) + b"[]"]


def policy_files() -> list[bytes]:
    """YAML and JSON with every member."""
    full = {
        "anchors": ["intel"], "mrenclaves": [_HEX32], "mrsigners": [_HEX32], "isvprodid": 1, "min_isvsvn": 2,
        "mrtds": [_HEX48], "rtmrs": {"0": [_HEX48]}, "snp_measurements": [_HEX48], "pcrs": {"0": [_HEX48]},
        "tolerate": ["debug-mode"], "ignore_advisories": ["INTEL-SA-00001"], "min_evaluation_number": 17,
        "report_data": "00ff",
    }  # fmt: skip
    yaml = f"# a policy\nanchors: [intel]\nmrenclaves:\n  - '{_HEX32}'\ntolerate:\n- hyperthreading\n"
    return [json.dumps(full).encode(), yaml.encode()]


def envelopes() -> list[bytes]:
    """Evidence as people pass it on: binary, hex, base64, PEM."""
    quote = simulated()[0].quote
    pem = x509.load_der_x509_certificate(ratls_certificates()[0]).public_bytes(Encoding.PEM)
    return [quote, quote.hex().encode(), base64.encodebytes(quote), pem, *snp_reports(), *nitro_documents()]


def materials() -> list[bytes]:
    """Whatever evidence is judged with."""
    return [*collaterals()[:1], *chains()[:1], *certificate_list()[:1], *crls(), *bundles()]


def bundles() -> list[bytes]:
    """Both technologies, and a single copy."""
    both = [_maker().collateral(kind) for kind in (EvidenceKind.SGX, EvidenceKind.TDX)]
    return [bundle.export_bundle(both), collaterals()[0]]


@lru_cache(maxsize=1)
def snp_machine() -> Machine:
    """A simulated AMD chip."""
    return Machine()


@lru_cache(maxsize=1)
def nitro_enclave() -> Enclave:
    """A simulated Nitro enclave."""
    return Enclave()


@lru_cache(maxsize=1)
def snp_reports() -> list[bytes]:
    """Signed, of every version."""
    return [snp_machine().report(version) for version in (2, 3, 5)]


@lru_cache(maxsize=1)
def snp_certificates() -> bytes:
    """What they are judged with."""
    return snp_machine().certificates()


@lru_cache(maxsize=1)
def nitro_documents() -> list[bytes]:
    """Signed: as Nitro writes them, tagged, and with everything that may be in them."""
    enclave = nitro_enclave()
    plain, full = enclave.document(), enclave.document(public_key=b"key", user_data=b"data", nonce=NONCE)
    return [plain, b"\xd2" + plain, full]


def sessions() -> list[bytes]:
    """As the SMS writes them."""
    return [json.dumps(iexec_document()).encode()]
