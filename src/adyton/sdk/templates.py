"""What ``init`` commands write: the starting content of a project's files (official format, reference section 2)."""

from __future__ import annotations

import copy
from typing import Any, Final

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32

PROJECT: Final[dict[str, Any]] = {
    "description": "Say here what your app, dataset or workerpool does and for whom: people who look for it in a "
    "catalogue read this text first, so give it two or three whole sentences.",
    "license": "MIT",
    "author": "?",
    "social": {"website": "?", "github": "?"},
    "logo": "logo.png",
}

CHAINS: Final[dict[str, Any]] = {
    "default": "arbitrum-sepolia-testnet",
    "chains": {"mainnet": {}, "bellecour": {}, "arbitrum-mainnet": {}, "arbitrum-sepolia-testnet": {}},
}

_APP: Final[dict[str, Any]] = {
    "name": "hello-world",
    "type": "DOCKER",
    "multiaddr": "iexechub/python-hello-world:8.0.4",
    "checksum": "0xb0b664b7a6d249f81c067a9262b1763144eeb3ca63e553567f71673442ce9e84",
}
_SCONE_APP: Final[dict[str, Any]] = {
    "name": "hello-world-scone",
    "type": "DOCKER",
    "multiaddr": "docker.io/iexechub/python-hello-world:8.0.0-sconify-5.9.1-v15-production",
    "checksum": "0x15de77fd7ac448028884256b3ab376e7d4560e9ef6acf0594ea0b3c031d5d395",
    "mrenclave": {
        "framework": "SCONE",
        "version": "v5.9",
        "entrypoint": "python /app/app.py",
        "heapSize": 1073741824,
        "fingerprint": "2d4b9efd066d0bb058b8da79bf8551be7d244779bc41d03a12201a4004779609",
    },
}
_GRAMINE_APP: Final[dict[str, Any]] = {
    "name": "hello-world-gramine",
    "type": "DOCKER",
    "multiaddr": "iexechub/tee-python-hello-world:8.0.3-gramine",
    "checksum": "0x8e13b1592bff2e1651225b1533282ed2e1939ce173c9f0c2c39ed02a4963401f",
    "mrenclave": {
        "framework": "GRAMINE",
        "version": "v0",
        "fingerprint": "c879351b3640a21331c4d931d3e32bfbb8373b502966f9c639538666b2cf3641",
    },
}

_DATASET: Final[dict[str, Any]] = {
    "name": "my-dataset",
    "multiaddr": "/ipfs/QmW2WQi7j6c7UgJTarActp7tDNikE4B2qXtFCfLPdsgaTQ",
    "checksum": ZERO_BYTES32,
}

CATEGORY: Final[dict[str, Any]] = {"name": "XXL", "description": "new hub category", "workClockTimeRef": "100"}


def app(owner: str | None, framework: str | None) -> dict[str, Any]:
    """The app template; ``scone`` and ``gramine`` have their enclave's description, others are plain."""
    chosen = {"scone": _SCONE_APP, "gramine": _GRAMINE_APP}.get(framework or "", _APP)
    return _owned(owner, chosen)


def dataset(owner: str | None) -> dict[str, Any]:
    """The dataset template."""
    return _owned(owner, _DATASET)


def workerpool(owner: str | None) -> dict[str, Any]:
    """The workerpool template."""
    return _owned(owner, {"description": "my-workerpool"})


def order(kind: str, resource: str, wallet: str | None) -> dict[str, Any]:
    """The order template of a kind.

    Args:
        kind: ``app``, ``dataset``, ``workerpool`` or ``request``.
        resource: address of the resource that is sold; ignored for requests.
        wallet: requester and beneficiary of a request.
    """
    if kind == "request":
        return _request(wallet)
    document: dict[str, Any] = {kind: resource, f"{kind}price": "0"}
    document["volume"] = "1" if kind == "workerpool" else "1000000"
    if kind == "workerpool":
        document |= {"category": "0", "trust": "0"}
    document["tag"] = []
    restricted = [other for other in ("app", "dataset", "workerpool") if other != kind]
    document |= {f"{other}restrict": ZERO_ADDRESS for other in [*restricted, "requester"]}
    return document


def _request(wallet: str | None) -> dict[str, Any]:
    return {
        "app": ZERO_ADDRESS,
        "appmaxprice": "0",
        "dataset": ZERO_ADDRESS,
        "datasetmaxprice": "0",
        "workerpool": ZERO_ADDRESS,
        "workerpoolmaxprice": "0",
        "volume": "1",
        "category": "0",
        "trust": "0",
        "tag": [],
        **({"beneficiary": wallet} if wallet else {}),
        "callback": ZERO_ADDRESS,
        "params": {"iexec_args": "", "iexec_input_files": [], "iexec_result_encryption": False},
        **({"requester": wallet} if wallet else {}),
    }


def _owned(owner: str | None, template: dict[str, Any]) -> dict[str, Any]:
    # Without any wallet the owner is left out, for the user to fill in.
    return ({"owner": owner} if owner else {}) | copy.deepcopy(template)
