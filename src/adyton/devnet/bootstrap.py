"""What must be said to running services before the next ones start: CAS sessions, stage images, pool orders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import yaml

from adyton.base.types import Address
from adyton.cas.client.answers import SessionInfo
from adyton.cas.client.operator import cas_policy, make_identity, open_client, trust_cas
from adyton.cas.client.tls import CasRefusedError
from adyton.chain import tags
from adyton.chain.contracts import Hub
from adyton.chain.deploy import Deployment
from adyton.chain.orders import OrderKind, WorkerpoolOrder, sign_order
from adyton.chain.rpc import Rpc
from adyton.content.reference import ImageReference
from adyton.content.registry import RegistryClient
from adyton.devnet.approvers import read_approvers
from adyton.devnet.images import ServiceImages
from adyton.devnet.network import HOST
from adyton.devnet.operators import operator
from adyton.devnet.pools import POOLS
from adyton.devnet.services import Plan, sms_session, stage_reference
from adyton.devnet.successors import accepted, image_in_place
from adyton.enclave.successors import UpgradePolicy
from adyton.market.client import MarketClient

POOL_ORDER_VOLUME: Final = 1_000_000
POOL_TAG: Final = ("tee", "scone")
CATEGORIES: Final = range(5)
DATABASE_KEY_FILE: Final = "/run/adyton/database-key"


def create_sms_sessions(
    plan: Plan, images: ServiceImages, tier: str, say: Callable[[str], None] = lambda _line: None
) -> ServiceImages:
    """Verify the CAS's evidence, then give it the session from which each SMS gets its database key.

    A session that exists is left as it is: its key is what the SMS's database was made with. Gives the images with
    those of approved successors in their places.
    """
    folder = plan.paths.data("operator")
    make_identity(folder)
    url = f"https://{HOST}:{plan.ports.cas}"
    trust_cas(url, folder, cas_policy(tier, [images.cas.mrenclave]))
    client = open_client(url, folder)
    upgrade, sms = read_approvers(plan.paths), dict(images.sms)
    for spec in POOLS:
        document = sms_session_document(spec.role, images.sms[spec.role].mrenclave, upgrade)
        try:
            found = client.show(document["name"])
        except CasRefusedError as error:
            if error.code != "cas.session.unknown":
                raise
            client.create(yaml.safe_dump(document, sort_keys=False))
        else:
            if found.line is not None:
                sms[spec.role] = image_in_place(plan.paths, spec.role, found.line, say)
            _require_same_enclave(found, document["name"], sms[spec.role].mrenclave)
    return replace(images, sms=sms)


def sms_session_document(role: str, mrenclave: str, upgrade: UpgradePolicy | None = None) -> dict[str, Any]:
    """The CAS session of an SMS: its enclave gets a key that only this very measurement can get.

    ``upgrade``: who may approve a successor that gets the key or the place after it; the enclave names the same.
    """
    return {
        **({} if upgrade is None else {"upgrade": upgrade.to_plain()}),
        "name": sms_session(role),
        "version": "0.3.10",
        "access_policy": {"read": ["CREATOR"], "update": ["NONE"]},
        "services": [{"name": "sms", "image_name": "sms-image", "mrenclaves": [mrenclave], "pwd": "/"}],
        "images": [
            {
                "name": "sms-image",
                "injection_files": [{"path": DATABASE_KEY_FILE, "content": "$$SCONE::database-key:hex$$"}],
            }
        ],
        "secrets": [{"name": "database-key", "kind": "enclave-key"}],
        "security": {"attestation": {"tolerate": [], "ignore_advisories": [], "mode": "hardware"}},
    }


def _require_same_enclave(found: SessionInfo, name: str, mrenclave: str) -> None:
    listed = [service["mrenclaves"] for service in (found.document or {}).get("services", [])]
    if found.line is not None:
        listed = [[mrenclave]] if mrenclave in accepted(found.line) else []
    if listed != [[mrenclave]]:
        raise CasRefusedError(
            f"the session {name} accepts another SMS than this installation has",
            status=409,
            code="devnet.sms.measurement",
            hint="Adyton was updated since this network was made: its stored secrets stay closed to the new SMS."
            " Start a fresh network with --state NEW_FOLDER, or go back to the version that made this one",
        )


def push_stage_images(plan: Plan, images: ServiceImages) -> None:
    """Put the pre-compute and post-compute enclaves where workers look for them."""
    registry = RegistryClient()
    for stage, image in images.stages.items():
        registry.push(image.layout, ImageReference.parse(stage_reference(plan, stage)))
    registry.close()


def publish_pool_orders(plan: Plan, deployment: Deployment, pools: dict[str, Address]) -> None:
    """Offer every pool in every category, once: orders of an earlier start are still on the market."""
    rpc = Rpc(plan.ports.url("chain"))
    domain = Hub(rpc, deployment.hub).domain()
    market = MarketClient(plan.ports.url("market"), deployment.chain_id)
    for spec in POOLS:
        owner = operator(plan.paths, f"pool-{spec.role}")
        for category in CATEGORIES:
            tag = tags.encode(POOL_TAG)
            if market.find(OrderKind.WORKERPOOL, workerpool=pools[spec.role], category=category)["count"]:
                continue
            order = WorkerpoolOrder(
                workerpool=pools[spec.role], volume=POOL_ORDER_VOLUME, tag=tag, category=category, trust=1
            )
            market.publish(OrderKind.WORKERPOOL, sign_order(order, owner, domain), owner)
    rpc.close()
