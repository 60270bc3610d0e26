"""Mutators of collateral and of the time: members, documents as JSON and as text, chains, revocation lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields, replace
from datetime import timedelta
from random import Random
from typing import Any, Final

from cryptography import x509
from fuzz.certificates import reissue_chain, reissue_crl
from fuzz.specimen import Specimen

from adyton.attestation.chain import LIBRARY_ERRORS
from adyton.attestation.collateral.documents import Collateral
from adyton.attestation.errors import AttestationError
from fuzz import bytewise

_MEMBERS: Final = tuple(field.name for field in fields(Collateral))
_DOCUMENTS: Final = ("tcb_info", "qe_identity")
_CHAINS: Final = ("pck_crl_issuer_chain", "tcb_info_issuer_chain", "qe_identity_issuer_chain")
_STATUSES: Final = (
    "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded", "OutOfDate",
    "OutOfDateConfigurationNeeded", "Revoked", "uptodate", "Unknown", "",
)  # fmt: skip
_VALUES: Final[tuple[Any, ...]] = (
    0, 1, 2, 3, 8, 13, 255, 256, 65535, 65536, -1, 1.0, 0.5, 1e300, 1 << 70, None, True, False, "", "0", "SGX", "TDX",
    "QE", "TD_QE", "x" * 100, [], {}, [0], {"svn": 0}, "00" * 6, "FF" * 16, "00" * 32, "00" * 48,
)  # fmt: skip
_ADVISORIES: Final[tuple[Any, ...]] = (
    ["INTEL-SA-00001"],
    ["INTEL-SA-00001", "INTEL-SA-00001"],
    ["x"],
    [],
    None,
    "INTEL-SA-00001",
    [1],
)


def member_bytes(rng: Random, specimen: Specimen, others: tuple[Specimen, ...]) -> Specimen:
    """Bytes of one member."""
    name = rng.choice(_MEMBERS)
    value, other = getattr(specimen.collateral, name), getattr(rng.choice(others).collateral, name)
    if isinstance(value, bytes):
        return _with(specimen, name, bytewise.mutate(rng, value, other))
    raw = bytewise.mutate(rng, value.encode("utf-8", "replace"), other.encode("utf-8", "replace"))
    return _with(specimen, name, raw.decode("utf-8", "replace"))


def members_swapped(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """Two members of the same type exchanged."""
    kind = rng.choice((str, bytes))
    names = [name for name in _MEMBERS if isinstance(getattr(specimen.collateral, name), kind)]
    a, b = rng.sample(names, 2)
    c = specimen.collateral
    return replace(specimen, collateral=replace(c, **{a: getattr(c, b), b: getattr(c, a)}))


def member_of_another(rng: Random, specimen: Specimen, others: tuple[Specimen, ...]) -> Specimen:
    """One member, one document with its signature, or all of it, from other evidence."""
    other = rng.choice(others).collateral
    names = rng.choice(
        (
            *((name,) for name in _MEMBERS),
            *((name, f"{name}_signature") for name in _DOCUMENTS),
            *((name, f"{name}_signature", f"{name}_issuer_chain") for name in _DOCUMENTS),
            _MEMBERS,
        )
    )
    changed = replace(specimen.collateral, **{name: getattr(other, name) for name in names})
    return replace(specimen, collateral=changed)


def document_value(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """One value of a document, signed again or not."""
    return _edited(rng, specimen, _set_value)


def document_shape(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A member of a document removed, added or repeated, or a list in another order; signed again or not."""
    return _edited(rng, specimen, _reshape)


def level(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A TCB level with another status, other advisories or another SVN; signed again."""
    return _edited(rng, specimen, _relevel, signed=1.0)


def document_text(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """The text of a document, not its meaning, or names that occur twice; signed again or not."""
    name = rng.choice(_DOCUMENTS)
    text: str = getattr(specimen.collateral, name)
    pick = rng.choice(('"version"', '"id"', '"tcbStatus"', '"fmspc"', '"isvsvn"', '"nextUpdate"', '"tcbLevels"'))
    changed = rng.choice(
        (
            text + " ", "\n" + text, "\ufeff" + text, text.replace(":", ": "), text + text, text + "\0",
            text.replace("{", '{"version":3,', 1), text.replace("{", '{"tcbStatus":"UpToDate",'),
            text.replace('"tcbLevels"', '"tcbLevels":[],"tcbLevels"', 1), text.replace('"', "'"),
            text.replace(pick, pick.upper()), text.replace(pick, '"\\u00' + f"{ord(pick[1]):02x}" + pick[2:]),
            text.replace(",", ",,", 1), text.replace("]}", "],}", 1), text.replace(":0", ":-0", 1),
            text.replace(":1", ":1.0", 1), text.replace(":1", ":01", 1), text.replace("T00", "t00", 1),
            text.replace("Z", "+00:00", 1), text.replace("Z", ".5Z", 1), text.lower(), text.upper(),
            bytewise.flip(rng, text.encode("utf-8", "replace")).decode("utf-8", "replace"),
        )
    )  # fmt: skip
    return _signed(rng, _with(specimen, name, changed), 0.8)


def chain_reissued(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A certificate of an issuer chain that its authority made with something else in it."""
    name = rng.choice(_CHAINS)
    text = getattr(specimen.collateral, name)
    if specimen.maker is None:
        changed = bytewise.flip(rng, text.encode("utf-8", "replace")).decode("utf-8", "replace")
    else:
        changed = reissue_chain(rng, text.encode("utf-8", "replace"), specimen.maker).decode()
    return _with(specimen, name, changed)


def chain_text(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """The text of an issuer chain."""
    name = rng.choice(_CHAINS)
    text: str = getattr(specimen.collateral, name)
    cut = text.find("-----END CERTIFICATE-----") + 26
    changed = rng.choice(
        (text[cut:] + text[:cut], text[:cut], text[cut:], text + text, text + "\n", "x" + text, text.replace("\n", ""),
         text.replace("\n", "\r\n"), text + "\0")
    )  # fmt: skip
    return _with(specimen, name, changed)


def crl(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """A revocation list made again: other dates, entries, extensions, issuer or key."""
    name = rng.choice(("root_ca_crl", "pck_crl"))
    maker, der = specimen.maker, getattr(specimen.collateral, name)
    if maker is None:
        return _with(specimen, name, bytewise.flip(rng, der))
    keys = (maker.root_key, maker.ca_key, maker.tcb_key)
    signers = keys if name == "root_ca_crl" else (keys[1], keys[0], keys[2])
    return _with(specimen, name, reissue_crl(rng, der, signers, _serials(specimen, maker.chain)))


def _serials(specimen: Specimen, chain: bytes) -> list[int]:
    try:
        tcb = x509.load_pem_x509_certificates(specimen.collateral.tcb_info_issuer_chain.encode("utf-8", "replace"))
    except LIBRARY_ERRORS:
        tcb = []
    return [each.serial_number for each in (*x509.load_pem_x509_certificates(chain), *tcb[:1])]


def time(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """Another time: around each end of validity, and far away."""
    try:
        start, end = specimen.collateral.window()
    except AttestationError:  # mutated before beyond reading
        start = end = specimen.now
    base = rng.choice((start, end, specimen.now))
    shift = rng.choice((-1, 0, 1, -3600, 3600, 86400 * 20, -86400 * 20, 86400 * 3000, -86400 * 3000))
    return replace(specimen, now=base + timedelta(seconds=shift))


def _edited(
    rng: Random, specimen: Specimen, edit: Callable[[Random, dict[str, Any]], None], *, signed: float = 0.8
) -> Specimen:
    name = rng.choice(_DOCUMENTS)
    try:
        document = json.loads(getattr(specimen.collateral, name))
    except ValueError:
        return specimen  # mutated before beyond reading
    if not isinstance(document, dict):
        return specimen
    edit(rng, document)
    return _signed(rng, _with(specimen, name, json.dumps(document, separators=(",", ":"))), signed)


def _places(node: Any, found: list[tuple[Any, Any]] | None = None) -> list[tuple[Any, Any]]:  # noqa: ANN401  # JSON
    """Every (container, key) of a document."""
    found = [] if found is None else found
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found.append((node, key))
        _places(value, found)
    return found


def _pick(rng: Random, document: dict[str, Any]) -> tuple[Any, Any]:
    """A place, the shallow ones more often than their number."""
    places = _places(document)
    shallow = [place for place in places if isinstance(place[0], dict) and not isinstance(place[0].get("svn"), int)]
    return rng.choice(shallow if shallow and rng.random() < 0.7 else places or [(document, "x")])


def _set_value(rng: Random, document: dict[str, Any]) -> None:
    container, key = _pick(rng, document)
    old = container[key] if isinstance(container, list) else container.get(key)
    choices: list[Any] = list(_VALUES)
    if isinstance(old, str):
        choices += [*_STATUSES, old.lower(), old.upper(), old + " ", old[:-1], old[::-1]] * 2
        choices += ["2026-11-22T12:00:00Z", "2026-11-22T11:59:59Z", "2026-11-22T12:00:01Z", "2020-01-01T00:00:00Z"]
    if isinstance(old, int):
        choices += [old + 1, old - 1, str(old), float(old)] * 4
    container[key] = rng.choice(choices)


def _reshape(rng: Random, document: dict[str, Any]) -> None:
    container, key = _pick(rng, document)
    target = container[key] if isinstance(container, list) else container.get(key)
    action = rng.randrange(4)
    if isinstance(target, list) and target and action:
        if action == 1:
            rng.shuffle(target)
        elif action == 2:
            target.append(target[rng.randrange(len(target))])
        else:
            target.pop(rng.randrange(len(target)))
    elif action == 1 and isinstance(container, dict):
        container[f"{key}x"] = container.get(key)
    elif isinstance(container, list):
        container.pop(key)
    else:
        container.pop(key, None)


def _relevel(rng: Random, document: dict[str, Any]) -> None:
    lists = [document.get("tcbLevels")]
    modules = document.get("tdxModuleIdentities")
    lists += [each.get("tcbLevels") for each in modules if isinstance(each, dict)] if isinstance(modules, list) else []
    levels = [each for some in lists if isinstance(some, list) for each in some if isinstance(each, dict)]
    if not levels:
        return
    target = rng.choice(levels)
    if rng.random() < 0.5:
        target["tcbStatus"] = rng.choice(_STATUSES)
    if rng.random() < 0.3:
        target["advisoryIDs"] = rng.choice(_ADVISORIES)
    tcb = target.get("tcb")
    if isinstance(tcb, dict) and tcb and rng.random() < 0.5:
        name = rng.choice(list(tcb))
        if isinstance(tcb[name], list) and tcb[name]:
            rng.choice(tcb[name])["svn"] = rng.choice((0, 1, 2, 5, 6, 255))
        else:
            tcb[name] = rng.choice((0, 1, 4, 6, 8, 9, 12, 13, 14, 65535))


def _signed(rng: Random, specimen: Specimen, chance: float) -> Specimen:
    if specimen.maker is None or rng.random() > chance:
        return specimen
    return replace(specimen, collateral=specimen.maker.documented(specimen.collateral))


def _with(specimen: Specimen, name: str, value: Any) -> Specimen:  # noqa: ANN401  # text or bytes
    return replace(specimen, collateral=replace(specimen.collateral, **{name: value}))


COLLATERAL_MUTATORS: Final = (
    member_bytes, members_swapped, member_of_another, document_value, document_value, document_shape, document_shape,
    level, level, document_text, chain_reissued, chain_reissued, chain_text, crl, crl, time,
)  # fmt: skip
