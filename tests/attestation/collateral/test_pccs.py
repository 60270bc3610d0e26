"""The client of certificate services: what it asks for, and what it takes for an answer."""

from __future__ import annotations

import base64
from collections.abc import Callable
from urllib.parse import quote

import httpx2
import pytest
from tests.platform.world import World

from adyton.attestation.chain import MAX_CRL_BYTES
from adyton.attestation.collateral.documents import MAX_DOCUMENT_BYTES, Collateral
from adyton.attestation.collateral.pccs import PccsClient, split_signed
from adyton.attestation.dcap.pck import CaKind
from adyton.attestation.errors import AttestationError
from adyton.attestation.verdict import EvidenceKind
from adyton.base.errors import AdytonError, InputError, UnavailableError

FMSPC = b"SIM\0\0\0".hex()
SIGNATURE = "ab" * 64


@pytest.mark.parametrize(
    "body",
    [
        "",
        "{}",
        '{"tcbInfo":{}}',
        '{"tcbInfo":{},"signature":"ab"}',
        '{"tcbInfo":[],"signature":"' + SIGNATURE + '"}',
        '{"other":{},"signature":"' + SIGNATURE + '"}',
        '{"tcbInfo":{},"signature":"' + SIGNATURE + '"} x',
        '{"tcbInfo":{},"signature":"' + SIGNATURE + '","more":1}',
    ],
)
def test_an_answer_that_is_no_signed_document_is_refused(body: str) -> None:
    with pytest.raises(AttestationError) as caught:
        split_signed(body.encode(), "tcbInfo")
    assert caught.value.code == "attestation.collateral.format"


def test_the_signed_text_is_taken_out_byte_for_byte() -> None:
    text = '{ "a":1,\n "b" : {"signature":"x"} }'
    body = '{"tcbInfo":' + text + ',"signature":"' + SIGNATURE + '"}'
    assert split_signed(body.encode(), "tcbInfo") == (text, bytes.fromhex(SIGNATURE))


def client(answer: Callable[[httpx2.Request], httpx2.Response]) -> PccsClient:
    return PccsClient("http://pccs.test", transport=httpx2.MockTransport(answer))


def test_a_service_that_knows_the_platform_not_is_unavailable() -> None:
    pccs = client(lambda _request: httpx2.Response(404))
    with pytest.raises(UnavailableError):
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    pccs.close()


def test_an_answer_without_an_issuer_chain_is_refused(world: World) -> None:
    good = world.collateral()
    body = f'{{"tcbInfo":{good.tcb_info},"signature":"{good.tcb_info_signature.hex()}"}}'
    pccs = client(lambda _request: httpx2.Response(200, content=body))
    with pytest.raises(AttestationError, match="TCB-Info-Issuer-Chain"):
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    pccs.close()


@pytest.mark.parametrize("fmspc", ["", "../../../x", "00a06711000", "00a06711000g", "00a067110000&x=1"])
def test_only_an_fmspc_becomes_a_path(fmspc: str) -> None:
    def never(_request: httpx2.Request) -> httpx2.Response:
        raise AssertionError

    pccs = client(never)
    with pytest.raises(InputError) as caught:
        pccs.fetch(fmspc, CaKind.PLATFORM)
    assert caught.value.code == "attestation.collateral.fmspc"
    pccs.close()


def service(good: Collateral, asked: list[str], **changes: Callable[[httpx2.Response], httpx2.Response]) -> PccsClient:
    """A certificate service that answers with ``good``; ``changes`` edit the answer to the path that ends so."""

    def signed(member: str, text: str, signature: bytes, header: str, chain: str) -> httpx2.Response:
        body = f'{{"{member}":{text},"signature":"{signature.hex()}"}}'
        return httpx2.Response(200, content=body, headers={header: quote(chain)})

    def answer(request: httpx2.Request) -> httpx2.Response:
        asked.append(str(request.url).removeprefix("http://pccs.test"))
        name = request.url.path.rsplit("/", 1)[1]
        answers = {
            "tcb": lambda: signed(
                "tcbInfo",
                good.tcb_info,
                good.tcb_info_signature,
                "TCB-Info-Issuer-Chain",
                good.tcb_info_issuer_chain,
            ),
            "identity": lambda: signed(
                "enclaveIdentity",
                good.qe_identity,
                good.qe_identity_signature,
                "SGX-Enclave-Identity-Issuer-Chain",
                good.qe_identity_issuer_chain,
            ),
            "pckcrl": lambda: httpx2.Response(
                200, content=good.pck_crl, headers={"SGX-PCK-CRL-Issuer-Chain": quote(good.pck_crl_issuer_chain)}
            ),
            "rootcacrl": lambda: httpx2.Response(200, content=good.root_ca_crl.hex()),
        }
        return changes.get(name, lambda same: same)(answers[name]())

    return client(answer)


@pytest.mark.parametrize("kind", [EvidenceKind.SGX, EvidenceKind.TDX])
def test_documents_are_of_the_technology_and_lists_are_common(world: World, kind: EvidenceKind) -> None:
    asked: list[str] = []
    pccs = service(world.collateral(kind), asked)
    assert pccs.fetch(FMSPC.upper(), CaKind.PROCESSOR, kind) == world.collateral(kind)
    assert asked == [
        f"/{kind.value}/certification/v4/tcb?fmspc={FMSPC}",
        f"/{kind.value}/certification/v4/qe/identity",
        "/sgx/certification/v4/pckcrl?ca=processor&encoding=der",
        "/sgx/certification/v4/rootcacrl",
    ]
    pccs.close()


@pytest.mark.parametrize("kind", [EvidenceKind.SNP, EvidenceKind.NITRO])
def test_other_technologies_are_not_asked_for(world: World, kind: EvidenceKind) -> None:
    asked: list[str] = []
    pccs = service(world.collateral(), asked)
    with pytest.raises(InputError):
        pccs.fetch(FMSPC, CaKind.PLATFORM, kind)
    assert asked == []
    pccs.close()


def pem(der: bytes, columns: int = 64) -> bytes:
    text = base64.b64encode(der).decode()
    lines = [text[i : i + columns] for i in range(0, len(text), columns)]
    return "\n".join(["-----BEGIN X509 CRL-----", *lines, "-----END X509 CRL-----", ""]).encode()


@pytest.mark.parametrize(
    "form",
    [
        lambda der: der,
        lambda der: der.hex().encode(),
        lambda der: der.hex().upper().encode() + b"\r\n",
        pem,
        lambda der: pem(der).replace(b"\n", b"\r\n"),
    ],
    ids=["DER", "hex", "hex in capitals with a line end", "PEM", "PEM of another system"],
)
@pytest.mark.parametrize("name", ["pckcrl", "rootcacrl"])
def test_a_list_is_read_in_every_form_that_services_give_it(
    world: World, name: str, form: Callable[[bytes], bytes]
) -> None:
    good = world.collateral()
    der = good.pck_crl if name == "pckcrl" else good.root_ca_crl

    def change(answer: httpx2.Response) -> httpx2.Response:
        kept = {"SGX-PCK-CRL-Issuer-Chain": answer.headers.get("SGX-PCK-CRL-Issuer-Chain", "")}
        return httpx2.Response(200, content=form(der), headers=kept)

    pccs = service(good, [], **{name: change})
    assert pccs.fetch(FMSPC, CaKind.PLATFORM) == good
    pccs.close()


def test_pem_that_is_cut_is_refused(world: World) -> None:
    whole = pem(b"\x30\x03\x02\x01\x01", columns=7)  # eight characters, of which the last is a line
    broken = httpx2.Response(200, content=whole.replace(b"\n=\n", b"\n"))
    pccs = service(world.collateral(), [], rootcacrl=lambda _answer: broken)
    with pytest.raises(AttestationError, match="PEM") as caught:
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    assert caught.value.code == "attestation.collateral.format"
    pccs.close()


@pytest.mark.parametrize(
    ("name", "edit"),
    [
        ("tcb", lambda answer: answer.content.replace(b"{", b"{" + b" " * MAX_DOCUMENT_BYTES, 1)),
        ("identity", lambda answer: answer.content.replace(b"{", b"{" + b" " * MAX_DOCUMENT_BYTES, 1)),
        ("pckcrl", lambda _answer: bytes(2 * MAX_CRL_BYTES + 1)),
        ("rootcacrl", lambda _answer: b"00" * (MAX_CRL_BYTES + 1)),
    ],
)
def test_an_answer_over_its_limit_is_refused(world: World, name: str, edit: Callable[[httpx2.Response], bytes]) -> None:
    def change(answer: httpx2.Response) -> httpx2.Response:
        headers = {key: value for key, value in answer.headers.items() if key.endswith("issuer-chain")}
        return httpx2.Response(200, content=edit(answer), headers=headers)

    pccs = service(world.collateral(), [], **{name: change})
    with pytest.raises(AdytonError) as caught:
        pccs.fetch(FMSPC, CaKind.PLATFORM)
    assert caught.value.code in {"attestation.collateral.format", "service.unavailable"}
    pccs.close()
