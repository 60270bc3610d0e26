"""``adyton evidence``: what a person sees, what a script reads, and the exit status, for right and for wrong input."""

from __future__ import annotations

import base64
import json
import os
import pty
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, fields
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from tests.attestation.nitro_vendor import Enclave
from tests.attestation.snp_vendor import Machine, intermediate, revocations, root
from tests.cli.evidence_support import Adyton, collateral_service, runner
from tests.platform.world import NOW, World, mrsigner_of

from adyton.attestation.envelope import MAX_ENVELOPE_BYTES
from adyton.attestation.formats.report_data import legacy_report_data
from adyton.attestation.formats.tdx import TdReport15
from adyton.attestation.ratls.certificate import make_certificate
from adyton.attestation.snp.report import KeyKind
from adyton.attestation.verdict import EvidenceKind
from adyton.cli.adyton.inputs import parse_time
from adyton.cli.adyton.verdict_report import safe
from adyton.devnet.network import Network
from adyton.devnet.paths import NetworkPaths
from adyton.devnet.supervision import ServiceStatus, Status, process_started
from adyton.platform.simulated.qe import LocalPlatform

M1, M2 = b"\x01" * 32, b"\x02" * 32
AT = ("--at", NOW.isoformat())
REPORT_DATA = bytes(range(64))


@pytest.fixture(scope="module")
def world() -> World:
    return World()


@pytest.fixture
def adyton(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Adyton:
    return runner(capsys, monkeypatch, tmp_path / "home")


@pytest.fixture(scope="module")
def files(world: World, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Evidence of every kind that is simulated, and what it is judged with."""
    folder = tmp_path_factory.mktemp("evidence")
    quotes = {
        "sgx3": world.platform(M1).quote(REPORT_DATA),
        "sgx4": world.enclave_quote(M1, REPORT_DATA, version=4),
        "sgx5": world.enclave_quote(M1, REPORT_DATA, version=5),
        "tdx4": world.td_quote(REPORT_DATA),
        "tdx5": world.td_quote(REPORT_DATA, version=5),
        "tdx15": world.td_quote(REPORT_DATA, version=5, body=TdReport15),
        "debug": world.platform(M1, debug=True).quote(REPORT_DATA),
    }
    for name, quote in quotes.items():
        (folder / name).write_bytes(quote)
    for kind in (EvidenceKind.SGX, EvidenceKind.TDX):
        (folder / f"{kind.value}.json").write_text(world.collateral(kind).to_json())
    return folder


def collateral_of(files: Path, name: str) -> tuple[str, str]:
    return "--collateral", str(files / f"{name[:3] if name != 'debug' else 'sgx'}.json")


# --- real evidence, and the examples of the manual


def test_a_real_trust_domain_is_trusted_at_its_date(evidence: Path, adyton: Adyton) -> None:
    given = (evidence / "tdx_quote", "--collateral", evidence / "tdx_quote_collateral.json")
    done = adyton("evidence", "verify", *given, "--at", "2025-07-01T00:00:00Z", "--json")
    assert done.status == 0
    verdict = done.json
    assert (verdict["trusted"], verdict["tier"], verdict["status"]) == (True, "intel", "UpToDate")
    assert (verdict["advisories"], verdict["code"], verdict["kind"]) == ([], None, "tdx")
    assert (verdict["simulated"], verdict["compared"], verdict["at"]) == (False, False, "2025-07-01T00:00:00+00:00")
    assert {each["outcome"] for each in verdict["checks"]} == {"passed", "not_asked"}


def test_a_real_enclave_is_refused_for_its_platform_unless_that_is_tolerated(
    evidence: Path, adyton: Adyton, tmp_path: Path
) -> None:
    given = (evidence / "sgx_quote", "--collateral", evidence / "sgx_quote_collateral.json", "--at", "2025-07-01")
    done = adyton("evidence", "verify", *given, "--json")
    verdict = done.json
    assert (done.status, verdict["trusted"], verdict["code"]) == (1, False, "attestation.tcb.status")
    assert verdict["status"] == "ConfigurationAndSWHardeningNeeded"
    assert verdict["advisories"] == ["INTEL-SA-00289", "INTEL-SA-00615"]
    assert verdict["tier"] == "intel"
    policy = tmp_path / "policy.yaml"
    policy.write_text(
        "tolerate: [insecure-configuration, software-hardening-needed]\n"
        "ignore_advisories: [INTEL-SA-00289, INTEL-SA-00615]\n"
    )
    done = adyton("evidence", "verify", *given, "--policy", policy, "--json")
    assert (done.status, done.json["trusted"], done.json["compared"]) == (0, True, False)
    policy.write_text(policy.read_text() + f"mrenclaves: [{done.json['identity']['mrenclave']}]\n")
    done = adyton("evidence", "verify", *given, "--policy", policy, "--json")
    assert (done.status, done.json["trusted"], done.json["compared"]) == (0, True, True)


def test_real_evidence_is_refused_today(evidence: Path, adyton: Adyton) -> None:
    given = (evidence / "tdx_quote", "--collateral", evidence / "tdx_quote_collateral.json")
    done = adyton("evidence", "verify", *given, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.validity")
    assert not done.json["trusted"]


def test_as_a_process_with_a_pipe(evidence: Path, tmp_path: Path) -> None:
    words = [
        "evidence",
        "verify",
        "-",
        "--collateral",
        str(evidence / "tdx_quote_collateral.json"),
        "--at",
        "2025-07-01",
    ]
    command = [str(Path(sys.executable).parent / "adyton"), *words]
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LC_ALL": "C", "PYTHONIOENCODING": "ascii"}
    quote = base64.b64encode((evidence / "tdx_quote").read_bytes())
    done = subprocess.run(command, input=quote, capture_output=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0
    assert done.stdout.startswith(b"TRUSTED: genuine platform; nobody compared the measurement: give --policy\n")
    assert done.stderr == b""
    assert list(tmp_path.iterdir()) == []  # judging leaves nothing behind


# --- simulated evidence of every kind


@pytest.mark.parametrize("name", ["sgx3", "sgx4", "sgx5", "tdx4", "tdx5", "tdx15"])
def test_simulated_evidence_passes_only_where_its_root_is_named(
    name: str, world: World, files: Path, adyton: Adyton
) -> None:
    given = (files / name, *collateral_of(files, name), *AT)
    done = adyton("evidence", "verify", *given)
    tier = world.anchor.tier
    assert done.status == 1
    assert done.out.startswith("NOT TRUSTED: ")
    flat = " ".join(done.out.split())
    assert f"the SIMULATED {tier}" in flat
    assert f"--anchor {tier}" in flat
    assert "(attestation.chain.anchor)" in flat
    refused = adyton("evidence", "verify", *given, "--json").json
    assert (refused["code"], refused["tier"], refused["simulated"]) == ("attestation.chain.anchor", None, True)
    done = adyton("evidence", "verify", *given, "--anchor", tier)
    assert done.status == 0
    first = " ".join(done.out.split("\n\n")[0].split())
    assert first == (
        "TRUSTED AS SIMULATED ONLY (this proves formats, not secrecy): nobody compared the measurement: give --policy"
    )
    accepted = adyton("evidence", "verify", *given, "--anchor", tier, "--json").json
    assert (accepted["trusted"], accepted["tier"], accepted["simulated"]) == (True, tier, True)


def test_a_policy_says_which_program(world: World, files: Path, adyton: Adyton, tmp_path: Path) -> None:
    policy = tmp_path / "policy.json"
    given = (files / "sgx3", *collateral_of(files, "sgx3"), *AT, "--policy", policy)

    def judged(**members: object) -> tuple[int, str | None]:
        policy.write_text(json.dumps({"anchors": [world.anchor.tier]} | members))
        done = adyton("evidence", "verify", *given, "--json")
        assert done.json["compared"]
        return done.status, done.json["code"]

    assert judged(mrenclaves=[M1.hex()]) == (0, None)
    assert judged(mrenclaves=[M2.hex()]) == (1, "attestation.measurement")
    assert judged(mrsigners=[mrsigner_of().hex()], isvprodid=0) == (0, None)
    assert judged(mrsigners=[mrsigner_of().hex()], isvprodid=1) == (1, "attestation.product")
    assert judged(mrsigners=[mrsigner_of().hex()], isvprodid=0, min_isvsvn=1) == (1, "attestation.svn")
    assert judged(mrsigners=["00" * 32], isvprodid=0) == (1, "attestation.signer")
    assert judged(mrtds=["00" * 48]) == (1, "attestation.pinned")
    assert judged(mrenclaves=[M1.hex()], min_evaluation_number=0xFFFF) == (1, "attestation.tcb.evaluation")
    assert judged(mrenclaves=[M1.hex()], report_data=REPORT_DATA.hex()) == (0, None)
    assert judged(mrenclaves=[M1.hex()], report_data="00") == (1, "attestation.report_data.expected")


def test_a_policy_says_which_trust_domain(world: World, files: Path, adyton: Adyton, tmp_path: Path) -> None:
    given = (files / "tdx4", *collateral_of(files, "tdx4"), *AT)
    identity = adyton("evidence", "verify", *given, "--json").json["identity"]
    policy = tmp_path / "policy.yaml"
    text = f"anchors: ['{world.anchor.tier}']\nmrtds: [{identity['mrtd']}]\nrtmrs: {{0: ['{identity['rtmr0']}']}}\n"
    policy.write_text(text)
    assert adyton("evidence", "verify", *given, "--policy", policy).status == 0
    policy.write_text(text.replace(f"['{identity['rtmr0']}']", f"['{'11' * 48}']"))
    done = adyton("evidence", "verify", *given, "--policy", policy, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.rtmr")


def test_debug_evidence_needs_a_policy_that_tolerates_it(
    world: World, files: Path, adyton: Adyton, tmp_path: Path
) -> None:
    given = (files / "debug", *collateral_of(files, "debug"), *AT, "--anchor", world.anchor.tier)
    done = adyton("evidence", "verify", *given, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.debug")
    policy = tmp_path / "policy.yaml"
    policy.write_text("tolerate: [debug-mode]")
    assert adyton("evidence", "verify", *given, "--policy", policy).status == 0


# --- the other vendors


@pytest.fixture
def snp(tmp_path: Path) -> Path:
    """A report of a simulated machine, with its certificates in the files in which people get them."""
    machine = Machine()
    above = intermediate(KeyKind.VCEK).public_bytes(Encoding.PEM) + root().public_bytes(Encoding.PEM)
    made = {
        "report": machine.report(),
        "vcek.der": machine.endorsement(),
        "chain.pem": above,
        "all.pem": machine.certificates(),
        "crl.der": revocations(),
        "revoked.pem": pem(revocations([intermediate(KeyKind.VCEK).serial_number]), "X509 CRL").encode(),
        "other.der": Machine(seed=9).endorsement(),
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def test_a_report_of_amd_is_judged_with_its_certificates(snp: Path, adyton: Adyton) -> None:
    tier = Machine().anchor.tier

    def judged(*names: str, policy: dict[str, object] | None = None) -> tuple[int, str | None]:
        given = [word for name in names for word in ("--collateral", snp / name)]
        (snp / "policy").write_text(json.dumps(policy or {}))
        options = (*AT, "--policy", snp / "policy", "--anchor", tier, "--json")
        done = adyton("evidence", "verify", snp / "report", *given, *options)
        assert done.json["trusted"] == (done.status == 0)
        return done.status, done.json["code"]

    assert judged("vcek.der", "chain.pem") == (0, None)
    assert judged("all.pem") == (0, None)
    assert judged("chain.pem", "crl.der", "vcek.der") == (0, None)
    assert judged("all.pem", "revoked.pem") == (1, "attestation.crl.revoked")
    assert judged("other.der", "chain.pem") == (1, "attestation.snp.signature")
    assert judged("vcek.der") == (1, "attestation.chain.format")
    assert judged("crl.der") == (1, "attestation.collateral.other")
    assert judged("all.pem", policy={"snp_measurements": ["11" * 48]}) == (0, None)
    assert judged("all.pem", policy={"snp_measurements": ["12" * 48]}) == (1, "attestation.measurement")
    assert judged("all.pem", policy={"mrenclaves": ["11" * 32]}) == (1, "attestation.pinned")
    assert judged("all.pem", policy={"report_data": b"report data".hex()}) == (0, None)
    assert judged("all.pem", policy={"report_data": b"other data".hex()}) == (1, "attestation.report_data.expected")


def test_a_report_of_amd_says_what_is_missing(snp: Path, files: Path, adyton: Adyton) -> None:
    done = adyton("evidence", "verify", snp / "report", *AT)
    assert (done.status, done.out) == (1, "")
    assert f"https://kdsintf.amd.com/vcek/v1/Milan/{Machine().chip_id.hex()}?blSPL=04&teeSPL=00&snpSPL=24" in done.err
    assert "attestation.collateral.absent" in done.err
    wrong = adyton("evidence", "verify", snp / "report", "--collateral", files / "sgx.json", *AT, "--json")
    assert wrong.json["code"] == "attestation.collateral.other"
    wrong = adyton("evidence", "verify", files / "sgx3", "--collateral", snp / "all.pem", *AT, "--json")
    assert wrong.json["code"] == "attestation.collateral.other"
    refused = adyton("evidence", "verify", snp / "report", "--collateral", snp / "all.pem", *AT)
    assert f"the SIMULATED {Machine().anchor.tier}" in " ".join(refused.out.split())
    assert "(attestation.chain.anchor)" in refused.out
    shown = adyton("evidence", "show", snp / "report", "--json").json
    assert (shown["kind"], shown["measurement"]) == ("snp", "11" * 48)


def test_a_certificate_that_libraries_warn_of_is_no_evidence(snp: Path) -> None:
    command = [str(Path(sys.executable).parent / "adyton"), "evidence", "verify", str(snp / "vcek.der"), "--json"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (1, b"")
    assert json.loads(done.stdout)["code"] == "attestation.envelope.unknown"


def test_a_document_of_aws_needs_no_collateral(adyton: Adyton, tmp_path: Path) -> None:
    enclave, file, policy = Enclave(), tmp_path / "document", tmp_path / "policy.json"
    file.write_text(base64.b64encode(enclave.document()).decode())
    tier = ("--anchor", enclave.anchor.tier)
    assert adyton("evidence", "verify", file, *AT, *tier).status == 0
    done = adyton("evidence", "verify", file, *AT, "--json")
    assert (done.status, done.json["code"], done.json["simulated"]) == (1, "attestation.chain.anchor", True)
    done = adyton("evidence", "verify", file, "--at", (NOW + timedelta(days=1)).isoformat(), *tier, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.validity")
    done = adyton("evidence", "verify", file, *AT, *tier, "--collateral", file, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.collateral.other")
    for members, code in (
        ({"pcrs": {"0": ["01" * 48], "1": ["02" * 48]}}, None),
        ({"pcrs": {"0": ["02" * 48]}}, "attestation.nitro.pcr"),
        ({"report_data": b"user data".hex()}, None),
        ({"report_data": b"user".hex()}, "attestation.report_data.expected"),
    ):
        policy.write_text(json.dumps(members))
        done = adyton("evidence", "verify", file, *AT, *tier, "--policy", policy, "--json")
        assert (done.status, done.json["code"]) == (0 if code is None else 1, code)
    assert adyton("evidence", "show", file, "--json").json["pcr0"] == "01" * 48


def test_a_document_over_nothing_is_not_over_what_the_policy_names(adyton: Adyton, tmp_path: Path) -> None:
    file, policy = tmp_path / "document", tmp_path / "policy.yaml"
    file.write_bytes(Enclave().document(user_data=None))
    policy.write_text("report_data: '00'")
    given = (file, *AT, "--anchor", Enclave().anchor.tier, "--policy", policy, "--json")
    assert adyton("evidence", "verify", *given).json["code"] == "attestation.report_data.expected"
    file.write_bytes(b"\x84\x44\xa1\x01\x38\x22")
    verdict = adyton("evidence", "verify", *given).json
    assert verdict["code"] == "attestation.nitro.format"
    assert verdict["checks"][-1] == {"check": "attestation.report_data.expected", "outcome": "not_run", "detail": ""}


@pytest.mark.parametrize("verb", ["verify", "show"])
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("[bold]x[/bold] [link=https://example.org]y[/link] :smile:", "[bold]x[/bold] [link=https://example.org]y"),
        ("i-\u00e9\u0430", "i-\\xe9\\u0430"),
        ("\x1b[2J\x1b]0;TRUSTED\x07", ""),
        ("\u202eDETSURT", ""),
    ],
    ids=["markup", "look-alikes", "escapes", "right-to-left"],
)
def test_evidence_cannot_steer_the_terminal(verb: str, text: str, shown: str, adyton: Adyton, tmp_path: Path) -> None:
    file = tmp_path / "document"
    file.write_bytes(Enclave().document(module_id=text))
    done = adyton("evidence", verb, file, *(AT if verb == "verify" else ()))
    said = done.out + done.err
    assert said.isascii()
    assert all(line.isprintable() for line in said.splitlines())
    assert shown in " ".join(said.split())


# --- forms


def pem(data: bytes, label: str) -> str:
    body = base64.encodebytes(data).decode()
    return f"-----BEGIN {label}-----\n{body}-----END {label}-----\n"


@pytest.mark.parametrize(
    "form",
    [
        lambda quote: quote,
        lambda quote: quote.hex().encode(),
        lambda quote: b"\xef\xbb\xbf0x" + quote.hex("\n", 32).replace("\n", "\r\n").encode() + b"\r\n",
        base64.encodebytes,
        lambda quote: base64.urlsafe_b64encode(quote).rstrip(b"="),
        lambda quote: pem(quote, "QUOTE").encode(),
    ],
    ids=["binary", "hex", "hex of a Windows editor", "base64", "url-safe", "PEM"],
)
@pytest.mark.parametrize("name", ["sgx3", "tdx15"])
def test_forms_from_a_pipe(
    form: Callable[[bytes], bytes], name: str, world: World, files: Path, adyton: Adyton
) -> None:
    piped = form((files / name).read_bytes())
    options = (*collateral_of(files, name), *AT, "--anchor", world.anchor.tier)
    assert adyton("evidence", "verify", "-", *options, stdin=piped).status == 0


def test_any_file_may_come_from_the_pipe(world: World, files: Path, adyton: Adyton) -> None:
    given = ("evidence", "verify", files / "sgx3", *AT)
    own = ("--collateral", files / "sgx.json")
    anchor = ("--anchor", world.anchor.tier)
    assert adyton(*given, *anchor, "--collateral", "-", stdin=(files / "sgx.json").read_bytes()).status == 0
    policy = f"anchors: ['{world.anchor.tier}']".encode()
    assert adyton(*given, *own, "--policy", "-", stdin=policy).status == 0
    assert adyton(*given, *own, "--policy", "--json", stdin=policy).status == 2
    assert adyton(*given, "--collateral", "--offline").status == 2


# --- certificates


def certificate(world: World, *, purpose: str = "cas-server") -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    return make_certificate(key, world.platform(M1), purpose, bytes(16), now=NOW)


def legacy_certificate(
    platform: LocalPlatform, *, stolen: bool = False, oid: str = "0.6.9.42.840.113741.1337.6"
) -> bytes:
    """A bare quote over the key, as other implementations write it; ``stolen``: over another key."""
    key = ec.generate_private_key(ec.SECP384R1())
    quoted = ec.generate_private_key(ec.SECP384R1()) if stolen else key
    spki = quoted.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "RATLS")])
    quote = platform.quote(legacy_report_data(spki))
    return (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2001, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(2030, 12, 31, tzinfo=UTC))
        .add_extension(x509.UnrecognizedExtension(x509.ObjectIdentifier(oid), quote), critical=False)
        .sign(key, SHA256())
        .public_bytes(Encoding.DER)
    )


def swapped_key(der: bytes) -> bytes:
    """The evidence of one certificate in a certificate of another key."""
    taken = x509.load_der_x509_certificate(der)
    key = ec.generate_private_key(ec.SECP256R1())
    builder = (
        x509.CertificateBuilder()
        .subject_name(taken.subject)
        .issuer_name(taken.subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(taken.not_valid_before_utc)
        .not_valid_after(taken.not_valid_after_utc)
    )
    for extension in taken.extensions:
        builder = builder.add_extension(extension.value, critical=extension.critical)
    return builder.sign(key, SHA256()).public_bytes(Encoding.DER)


def test_a_certificate_is_trusted_for_its_own_key_only(
    world: World, files: Path, adyton: Adyton, tmp_path: Path
) -> None:
    options = (*collateral_of(files, "sgx3"), *AT, "--anchor", world.anchor.tier)
    own, legacy = certificate(world), legacy_certificate(world.platform(M1))
    other = legacy_certificate(world.platform(M1), oid="1.2.840.113741.1337.6")
    for name, data in (("own.der", own), ("own.pem", pem(own, "CERTIFICATE").encode()), ("l", legacy), ("o", other)):
        file = tmp_path / name
        file.write_bytes(data)
        done = adyton("evidence", "verify", file, *options, "--json")
        assert done.status == 0, done.json
        verdict = done.json
        assert "RA-TLS certificate" in verdict["form"]
        outcomes = {each["check"]: each["outcome"] for each in verdict["checks"]}
        assert outcomes["attestation.key"] == outcomes["attestation.report_data"] == "passed"
    for name, data, code in (
        ("swapped.der", swapped_key(own), "attestation.key"),
        ("stolen.der", legacy_certificate(world.platform(M1), stolen=True), "attestation.report_data"),
    ):
        file = tmp_path / name
        file.write_bytes(data)
        done = adyton("evidence", "verify", file, *options, "--json")
        assert (done.status, done.json["trusted"], done.json["code"]) == (1, False, code)


def test_a_certificate_s_hour_is_over(world: World, files: Path, adyton: Adyton, tmp_path: Path) -> None:
    file = tmp_path / "c.der"
    file.write_bytes(certificate(world))
    later = ("--at", (NOW + timedelta(hours=2)).isoformat())
    options = (*collateral_of(files, "sgx3"), *later, "--anchor", world.anchor.tier)
    done = adyton("evidence", "verify", file, *options, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.certificate.validity")


# --- mistakes

KEY_PEM = (
    ec.generate_private_key(ec.SECP256R1())
    .private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    .decode("ascii")
)


@pytest.fixture
def mistakes(files: Path, tmp_path: Path) -> Path:
    """Wrong files of every sort."""
    made = {
        "empty": b"",
        "garbage": b"\x80\x02" + os.urandom(3000),
        "prose": b"Dear enclave,\n",
        "odd.hex": (files / "sgx3").read_bytes().hex()[:-1].encode(),
        "cut": (files / "sgx3").read_bytes()[:-10],
        "head": (files / "sgx3").read_bytes()[:40],
        "key.pem": KEY_PEM.encode(),
        "huge": bytes([1]) * (MAX_ENVELOPE_BYTES + 5),
        "empty.yaml": b"",
        "unknown.yaml": b"mrenclave: [aa]",
        "unpinned.yaml": b"isvprodid: 1",
        "binary.yaml": b"\xff\xfe\x00",
        "text.json": b"{",
        "members.json": b'{"tcb_info": 1}',
        "nul": bytes(100),
    }
    for name, data in made.items():
        (tmp_path / name).write_bytes(data)
    (tmp_path / "folder").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        ("{m}/absent", "input.file", "no such file"),
        ("{m}/folder", "input.file", "is a folder"),
        ("{m}/" + 300 * "x", "input.file", "file name too long"),
        ("{m}/empty/file", "input.file", "not a directory"),
        ("{m}/empty", "attestation.envelope.empty", "empty"),
        ("{m}/nul", "attestation.envelope.empty", "empty"),
        ("{m}/garbage", "attestation.envelope.unknown", "3002 bytes of binary data"),
        ("{m}/prose", "attestation.envelope.unknown", "neither hex"),
        ("{m}/odd.hex", "attestation.envelope.encoding", "odd number"),
        ("{m}/huge", "attestation.envelope.size", "more than"),
        ("{m}/key.pem", "attestation.envelope.private_key", "private key"),
        ("{f}/sgx.json", "attestation.envelope.unknown", "JSON"),
        ("{f}/sgx3", "attestation.collateral.absent", "no service is known"),
        ("{f}/sgx3 --offline", "attestation.collateral.absent", "--offline forbids"),
        ("{f}/sgx3 --pccs http://127.0.0.1:9", "attestation.collateral.absent", "does not answer"),
        ("{f}/sgx3 --pccs ftp://x", "input.url", "not the address"),
        ("{f}/sgx3 --pccs http://", "input.url", "not the address"),
        ("{f}/sgx3 --collateral {m}/absent", "input.file", "the collateral"),
        ("{f}/sgx3 --collateral {m}/folder", "input.file", "is a folder"),
        ("{f}/sgx3 --collateral {m}/empty", "attestation.collateral.format", "empty"),
        ("{f}/sgx3 --collateral {m}/prose", "attestation.collateral.format", "neither JSON"),
        ("{f}/sgx3 --collateral {m}/text.json", "attestation.collateral.format", "text.json"),
        ("{f}/sgx3 --collateral {m}/members.json", "attestation.collateral.format", "members.json"),
        ("{f}/sgx3 --collateral {m}/key.pem", "attestation.collateral.private_key", "private key"),
        ("{f}/sgx3 --collateral {f}/sgx3", "attestation.collateral.evidence", "holds evidence"),
        ("{f}/sgx3 --collateral {f}/sgx.json --policy {m}/absent", "input.file", "the policy"),
        ("{f}/sgx3 --collateral {f}/sgx.json --policy {m}/empty.yaml", "attestation.policy.format", "empty"),
        ("{f}/sgx3 --collateral {f}/sgx.json --policy {m}/unknown.yaml", "attestation.policy.format", "mrenclave"),
        ("{f}/sgx3 --collateral {f}/sgx.json --policy {m}/unpinned.yaml", "attestation.policy.unpinned", "pins"),
        ("{f}/sgx3 --collateral {f}/sgx.json --policy {m}/binary.yaml", "attestation.policy.format", "UTF-8"),
        ("{f}/sgx3 --collateral {f}/sgx.json --anchor any", "attestation.anchor.name", "'any'"),
        ("{f}/sgx3 --collateral {f}/sgx.json --at noon", "input.time", "not a point in time"),
        ("{f}/sgx3 --collateral {f}/sgx.json --at 2025-07-01T00:00:00", "input.time", "no time zone"),
        ("{f}/sgx3 --collateral {f}/sgx.json --at 2025-02-30", "input.time", "not a point in time"),
        ("{m}/cut --collateral {f}/sgx.json", "attestation.quote.format", "signature data"),
        ("{m}/head --collateral {f}/sgx.json", "attestation.quote.format", "ends inside"),
        ("{m}/cut", "attestation.quote.format", "signature data"),
        ("{f}/sgx3 --collateral {f}/tdx.json {a}", "attestation.tcb.platform", "TDX"),
        ("{f}/tdx4 --collateral {f}/sgx.json {a}", "attestation.tcb.platform", "SGX"),
        ("{f}/sgx3 --collateral {f}/sgx.json {a} --at 2036-01-01", "attestation.validity", "2036"),
        ("{f}/sgx3 --collateral {f}/sgx.json {a} --at 2016-01-01", "attestation.validity", "2016"),
    ],
)
def test_mistakes_are_named_and_never_trusted(  # noqa: PLR0917  # fixtures
    words: str, code: str, said: str, world: World, files: Path, mistakes: Path, adyton: Adyton
) -> None:
    anchor = f"--anchor {world.anchor.tier}"
    given = [word.format(m=mistakes, f=files) for word in words.replace("{a}", anchor).split()]
    if "--at" not in given:
        given += AT
    told = adyton("evidence", "verify", *given)
    assert told.status == 1
    assert code in told.out + told.err
    assert said in " ".join((told.out + told.err).split())
    printed = adyton("evidence", "verify", *given, "--json")
    assert printed.status == 1
    assert printed.err == ""
    assert (printed.json["trusted"], printed.json["code"]) == (False, code)
    assert set(printed.json) >= {"trusted", "tier", "status", "advisories", "checks", "code"}


def test_what_cannot_be_read_is_said_so(files: Path, adyton: Adyton, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may read every file")
    secret = tmp_path / "secret"
    secret.write_bytes((files / "sgx3").read_bytes())
    secret.chmod(0)
    done = adyton("evidence", "verify", secret, "--json")
    assert (done.status, done.json["code"]) == (1, "input.file")


def test_a_private_key_given_by_mistake_is_not_repeated(mistakes: Path, files: Path, adyton: Adyton) -> None:
    body = "".join(KEY_PEM.splitlines()[1:-1])
    for words in (
        ("verify", mistakes / "key.pem"),
        ("verify", mistakes / "key.pem", "--json"),
        ("show", mistakes / "key.pem"),
        ("verify", files / "sgx3", "--collateral", mistakes / "key.pem"),
        ("verify", files / "sgx3", "--policy", mistakes / "key.pem", "--json"),
    ):
        done = adyton("evidence", *words)
        assert done.status == 1
        said = "".join((done.out + done.err).split())
        assert not any(body[n : n + 10] in said for n in range(0, len(body) - 10, 10))


@pytest.mark.parametrize(
    "words",
    [
        ("verify",),
        ("verify", "a", "b"),
        ("verify", "a", "--colateral", "b"),
        ("verify", "a", "--at"),
        ("judge",),
        ("verify", "--nonsense"),
        ("verify", "-x"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], adyton: Adyton) -> None:
    assert adyton("evidence", *words).status == 2


def test_a_defect_is_never_trust(world: World, files: Path, adyton: Adyton, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_inputs: object) -> None:
        raise ZeroDivisionError("on purpose")

    monkeypatch.setattr("adyton.cli.adyton.judging.appraise", broken)
    given = (files / "sgx3", *collateral_of(files, "sgx3"), *AT, "--anchor", world.anchor.tier)
    done = adyton("evidence", "verify", *given, "--json")
    assert (done.status, done.json["trusted"], done.json["code"]) == (1, False, "evidence.defect")
    assert adyton("evidence", "verify", *given).status == 1


# --- where collateral comes from


def test_collateral_is_fetched_from_the_service_that_is_named(world: World, files: Path, adyton: Adyton) -> None:
    with collateral_service(world) as url:
        for name in ("sgx3", "tdx4"):
            done = adyton(
                "evidence", "verify", files / name, "--pccs", url + "/", *AT, "--anchor", world.anchor.tier, "--json"
            )
            assert done.status == 0
            assert done.json["sources"] == [url + "/"]


def test_collateral_is_taken_from_the_store_while_it_holds(
    world: World, files: Path, adyton: Adyton, tmp_path: Path
) -> None:
    store, anchor = tmp_path / "store", ("--anchor", world.anchor.tier)
    assert adyton("collateral", "import", files / "sgx.json", "--store", store, *AT, *anchor).status == 0
    given = (files / "sgx3", "--store", store, *anchor)
    done = adyton("evidence", "verify", *given, "--offline", *AT, "--json")
    assert (done.status, done.json["sources"]) == (0, [f"the store {store}"])
    later = ("--at", (NOW + timedelta(days=60)).isoformat())
    done = adyton("evidence", "verify", *given, "--offline", *later, "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.validity")
    assert "no longer valid" in done.json["sources"][0]
    with collateral_service(World(world.vendor, now=NOW + timedelta(days=60))) as url:
        done = adyton("evidence", "verify", *given, "--pccs", url, *later, "--json")
    assert done.json["sources"] == [url]  # a fresh copy instead of the one that ended
    assert adyton("evidence", "verify", files / "tdx4", "--store", store, "--offline", *AT).status == 1  # not for TDX


def test_a_network_on_this_machine_is_asked_about_its_own_platform(
    world: World, files: Path, adyton: Adyton, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    given = (files / "sgx3", "--state", state, *AT, "--anchor", world.anchor.tier, "--json")
    assert adyton("evidence", "verify", *given).json["code"] == "attestation.collateral.absent"
    assert not state.exists()
    with collateral_service(world) as url:
        network_in(state, url, world.anchor.tier)
        done = adyton("evidence", "verify", *given)
        assert (done.status, done.json["sources"]) == (0, [url])
        network_in(state, url, "sim:" + "00" * 32)
        assert adyton("evidence", "verify", *given).json["code"] == "attestation.collateral.absent"
        network_in(state, url, world.anchor.tier, pid_started=1)  # one that ended
        assert adyton("evidence", "verify", *given).json["code"] == "attestation.collateral.absent"


def network_in(state: Path, url: str, tier: str, *, pid_started: int | None = None) -> None:
    """The files of a running network whose platform is at ``url``."""
    paths = NetworkPaths.of(state)
    platform = ServiceStatus("platform", "ready", url, os.getpid(), 0, 0.1, "")
    started = pid_started or process_started(os.getpid()) or 0
    paths.status_file.write_text(json.dumps(asdict(Status(os.getpid(), started, "ready", "", (platform,)))))
    document: dict[str, Any] = dict.fromkeys((each.name for each in fields(Network) if each.type == "str"), "")
    Network(**document | {"chain_id": 134, "tier": tier}).save(paths)


def test_of_several_files_the_one_for_the_platform_is_used(world: World, files: Path, adyton: Adyton) -> None:
    both = ("--collateral", files / "tdx.json", "--collateral", files / "sgx.json", *AT, "--anchor", world.anchor.tier)
    for name in ("sgx3", "tdx15"):
        assert adyton("evidence", "verify", files / name, *both).status == 0


def test_the_vendor_is_asked_only_for_its_own_root(evidence: Path, files: Path, adyton: Adyton) -> None:
    done = adyton("evidence", "verify", evidence / "sgx_quote", "--json")
    assert (done.status, done.json["code"]) == (1, "attestation.collateral.absent")
    assert "127.0.0.1:9 does not answer" in done.json["message"]
    (hint,) = done.json["needed"]
    assert "adyton collateral export --kind sgx --fmspc 00a067110000 --ca processor" in hint
    done = adyton("evidence", "verify", files / "sgx3", "--json")
    assert "127.0.0.1:9" not in done.json["message"]


# --- how it looks


@pytest.mark.parametrize("name", ["sgx3", "tdx15"])
def test_the_report_is_plain_ascii_in_80_columns(name: str, files: Path, adyton: Adyton) -> None:
    done = adyton("evidence", "verify", files / name, *collateral_of(files, name), *AT)
    assert done.out.isascii()
    assert all(line.isprintable() and len(line) <= 80 and line == line.rstrip() for line in done.out.splitlines())
    for title in ("CLAIMED BY THE EVIDENCE", "CHECKS", "WHAT IS NEEDED TO PASS"):
        assert f"\n\n{title}\n" in done.out
    numbers = [int(line[:2]) for line in done.out.splitlines() if line[2:3] == " " and line[:2].strip().isdigit()]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) > 20


def test_a_terminal_gets_colours(files: Path, tmp_path: Path) -> None:
    words = ["evidence", "verify", str(files / "sgx3"), *collateral_of(files, "sgx3"), *AT]
    reader, writer = pty.openpty()
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "TERM": "xterm", "COLUMNS": "80"}
    command = [str(Path(sys.executable).parent / "adyton"), *words]
    process = subprocess.Popen(command, stdout=writer, stderr=writer, stdin=subprocess.DEVNULL, env=environment)
    os.close(writer)
    shown = b""
    while chunk := _read(reader):
        shown += chunk
    os.close(reader)
    assert process.wait(timeout=60) == 1
    assert b"\x1b[1;31mNOT TRUSTED: " in shown


def test_who_reads_only_the_first_line_gets_it(evidence: Path, tmp_path: Path) -> None:
    given = f"evidence verify {evidence / 'tdx_quote'} --collateral {evidence / 'tdx_quote_collateral.json'}"
    command = f"{Path(sys.executable).parent / 'adyton'} {given} --at 2025-07-01"
    environment = {"HOME": str(tmp_path), "PATH": os.environ["PATH"]}

    def shell(line: str) -> subprocess.CompletedProcess[str]:
        words = ["bash", "-o", "pipefail", "-c", line]
        return subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)

    done = shell(f"{command} | head -c 7")
    assert (done.returncode, done.stdout, done.stderr) == (0, "TRUSTED", "")
    done = shell(f"{command} | true")
    assert (done.returncode, done.stderr) == (0, "")
    for nowhere in (">/dev/full", ">&-"):
        done = shell(f"{command} {nowhere}")
        assert done.returncode == 1  # nobody was told
        assert "(output.write)" in done.stderr
        assert "Traceback" not in done.stderr


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 4096)
    except OSError:  # what the other end's closing looks like on Linux
        return b""


def test_text_of_strangers_cannot_steer_a_terminal() -> None:
    assert safe("a\x1b[31mb\r\n\u202ec\x7f") == "a\\x1b[31mb\\r\\n\\u202ec\\x7f"


def test_show_prints_without_judging(evidence: Path, adyton: Adyton) -> None:
    done = adyton("evidence", "show", evidence / "sgx_quote", "--json")
    assert done.status == 0
    said = done.json
    assert (said["kind"], said["fmspc"], said["ca"], said["root"]) == ("sgx", "00a067110000", "processor", "intel")
    assert said["mrenclave"] == "33d8736db756ed4997e04ba358d27833188f1932ff7b1d156904d3f560452fbb"
    text = adyton("evidence", "show", evidence / "tdx_quote").out
    assert text.startswith("NOT JUDGED: ")
    assert all(len(line) <= 80 for line in text.splitlines())


def test_show_tells_what_a_certificate_is_bound_to(world: World, adyton: Adyton, tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.write_text(pem(certificate(world), "CERTIFICATE"))
    said = adyton("evidence", "show", file, "--json").json
    assert (said["cert.own_key"], said["cert.purpose"], said["cert.nonce"]) == ("true", "cas-server", "00" * 16)
    file.write_bytes(b"nothing")
    assert adyton("evidence", "show", file).status == 1


def test_help_teaches(adyton: Adyton) -> None:
    shown = adyton("evidence", "verify", "--help").out
    for word in ("For example:", "adyton evidence verify quote.bin", "mrenclaves:", "Exit status:", "--collateral"):
        assert word in shown
    assert "adyton evidence show" in adyton("evidence", "show", "--help").out
    overview = adyton("--help").out
    assert " evidence " in overview
    assert " collateral " in overview


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-07-01T00:00:00Z", datetime(2025, 7, 1, tzinfo=UTC)),
        ("2025-07-01t02:00:00.5+02:00", datetime(2025, 7, 1, microsecond=500_000, tzinfo=UTC)),
        ("2025-07-01 00:00:00-00:00", datetime(2025, 7, 1, tzinfo=UTC)),
        ("2025-07-01", datetime(2025, 7, 1, tzinfo=UTC)),
        (" 1751328000\n", datetime(2025, 7, 1, tzinfo=UTC)),
        ("0", datetime(1970, 1, 1, tzinfo=UTC)),
    ],
)
def test_points_in_time(text: str, moment: datetime) -> None:
    assert parse_time(text) == moment
    assert parse_time(text).tzinfo is UTC
