"""Mutators of what a vendor says about platforms: whole tables of TCB levels, as a vendor in its right mind writes.

Documents made here are well-formed, sorted and signed; what two verifiers make of them is a question of matching and
joining alone: which level applies, which status and advisories follow from platform, quoting enclave and TDX module.
"""

from __future__ import annotations

import json
from dataclasses import replace
from random import Random
from typing import Any, Final

from fuzz.specimen import Specimen

_PLATFORM: Final = (
    "UpToDate", "UpToDate", "SWHardeningNeeded", "ConfigurationNeeded", "ConfigurationAndSWHardeningNeeded",
    "OutOfDate", "OutOfDate", "OutOfDateConfigurationNeeded", "Revoked",
)  # fmt: skip
_ENCLAVE: Final = ("UpToDate", "UpToDate", "UpToDate", "OutOfDate", "OutOfDate", "Revoked")
_ADVISORIES: Final = tuple(f"INTEL-SA-0000{number}" for number in range(1, 6))


def level_tables(rng: Random, specimen: Specimen, _others: tuple[Specimen, ...]) -> Specimen:
    """New tables for platform, quoting enclave and TDX modules, close to what the platform has; signed again."""
    try:
        info, identity = json.loads(specimen.collateral.tcb_info), json.loads(specimen.collateral.qe_identity)
        top = info["tcbLevels"][0]["tcb"]
        info["tcbLevels"] = _platform_levels(rng, top)
        identity["tcbLevels"] = _enclave_levels(rng, identity["tcbLevels"][0]["tcb"]["isvsvn"])
        for module in info.get("tdxModuleIdentities", ()):
            module["tcbLevels"] = _enclave_levels(rng, module["tcbLevels"][0]["tcb"]["isvsvn"])
    except (ValueError, KeyError, TypeError, IndexError):
        return specimen  # mutated before beyond reading
    if specimen.maker is None:
        return specimen  # nobody here can sign for a real vendor
    texts = [json.dumps(each, separators=(",", ":")) for each in (info, identity)]
    changed = replace(specimen.collateral, tcb_info=texts[0], qe_identity=texts[1])
    return replace(specimen, collateral=specimen.maker.documented(changed))


def _platform_levels(rng: Random, top: dict[str, Any]) -> list[dict[str, Any]]:
    sgx = [each["svn"] for each in top["sgxtcbcomponents"]]
    tdx = [each["svn"] for each in top.get("tdxtcbcomponents", ())]
    keys = {(_near(rng, sgx), max(0, top["pcesvn"] + rng.choice((0, 0, 0, -1, 1))), _near(rng, tdx)) for _ in range(5)}
    if rng.random() < 0.8:
        keys.add((tuple(bytes(16)), 0, tuple(bytes(len(tdx)))))
    levels = []
    for components, pcesvn, tdx_components in sorted(keys, reverse=True):
        tcb: dict[str, Any] = {"sgxtcbcomponents": [{"svn": svn} for svn in components], "pcesvn": pcesvn}
        if tdx:
            tcb["tdxtcbcomponents"] = [{"svn": svn} for svn in tdx_components]
        levels.append({"tcb": tcb, **_judgement(rng, _PLATFORM)})
    return levels


def _near(rng: Random, svns: list[int]) -> tuple[int, ...]:
    """The same numbers, or some of them one up or a few down."""
    changed = list(svns)
    for _ in range(rng.choice((0, 0, 1, 2))):
        if changed:
            at = rng.choice((0, 1, 2, rng.randrange(len(changed))))
            changed[at] = min(255, max(0, changed[at] + rng.choice((-2, -1, -1, 1))))
    return tuple(changed)


def _enclave_levels(rng: Random, top: int) -> list[dict[str, Any]]:
    svns = {max(0, top + rng.choice((-3, -2, -1, 0, 0, 0, 1, 2))) for _ in range(rng.randint(1, 4))}
    return [{"tcb": {"isvsvn": svn}, **_judgement(rng, _ENCLAVE)} for svn in sorted(svns, reverse=True)]


def _judgement(rng: Random, statuses: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {"tcbDate": "2024-03-13T00:00:00Z", "tcbStatus": rng.choice(statuses)}
    if rng.random() < 0.5:
        found["advisoryIDs"] = sorted(rng.sample(_ADVISORIES, rng.randint(1, 3)))
    return found


LEVEL_MUTATORS: Final = (level_tables,)
