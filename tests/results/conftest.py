"""A results service on a real socket, over a chain that tests write."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.web.serving import serving

from adyton.base.types import ZERO_ADDRESS, ZERO_BYTES32, Address, Bytes32, to_hex, word_bytes
from adyton.chain import hashing
from adyton.chain.models import Contribution, ContributionStatus, Deal, Party, Task, TaskStatus
from adyton.chain.wallet import Wallet
from adyton.results.api import build_app
from adyton.results.client import IpfsClient, ResultProxyClient
from adyton.results.settings import ResultsSettings
from adyton.sms.wire import SignatureValue, WorkerpoolAuthorization

DEAL_ID = Bytes32("0x" + "22" * 32)
TASK_ID = hashing.task_id(DEAL_ID, 0)
SCONE_TAG = Bytes32("0x" + "00" * 31 + "03")
FAR = 4_000_000_000  # Unix time


@dataclass
class WrittenChain:
    """The hub's answers as a test writes them."""

    tasks: dict[Bytes32, Task] = field(default_factory=dict)
    deals: dict[Bytes32, Deal] = field(default_factory=dict)
    contributions: dict[tuple[Bytes32, Address], Contribution] = field(default_factory=dict)

    def view_task(self, task_id: Bytes32) -> Task | None:
        return self.tasks.get(task_id)

    def view_deal(self, deal_id: Bytes32) -> Deal | None:
        return self.deals.get(deal_id)

    def view_contribution(self, task_id: Bytes32, worker: Address) -> Contribution:
        unset = Contribution(ContributionStatus.UNSET, ZERO_BYTES32, ZERO_BYTES32, ZERO_ADDRESS, 0)
        return self.contributions.get((task_id, worker), unset)


@dataclass
class Stage:
    """One task, everybody in it, and the service."""

    url: str
    chain: WrittenChain
    proxy: ResultProxyClient
    ipfs: IpfsClient
    pool: Wallet = field(default_factory=Wallet.create)
    worker: Wallet = field(default_factory=Wallet.create)
    requester: Wallet = field(default_factory=Wallet.create)
    enclave: Wallet = field(default_factory=Wallet.create)

    def authorization(
        self, challenge: Address | None = None, *, signer: Wallet | None = None
    ) -> WorkerpoolAuthorization:
        enclave = self.enclave.address if challenge is None else challenge
        message = hashing.authorization_hash(self.worker.address, TASK_ID, enclave)
        sign = to_hex((signer or self.pool).sign_personal(word_bytes(message)))
        return WorkerpoolAuthorization(
            chain_task_id=TASK_ID,
            worker_wallet=self.worker.address,
            enclave_challenge=enclave,
            signature=SignatureValue(value=sign),
        )

    def change_task(self, **changes: object) -> None:
        self.chain.tasks[TASK_ID] = replace(self.chain.tasks[TASK_ID], **changes)  # type: ignore[arg-type]

    def change_deal(self, **changes: object) -> None:
        self.chain.deals[DEAL_ID] = replace(self.chain.deals[DEAL_ID], **changes)  # type: ignore[arg-type]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    chain = WrittenChain()
    settings = ResultsSettings(
        data=tmp_path / "data", rpc_url="http://127.0.0.1:1", hub=ZERO_ADDRESS, max_result_bytes=100_000,
        max_file_bytes=1_000_000, max_blob_bytes=1_000_000,
    )  # fmt: skip
    with serving(build_app(settings, chain)) as url:
        stage = Stage(url, chain, ResultProxyClient(url), IpfsClient(url, url))
        chain.deals[DEAL_ID] = Deal(
            app=Party(stage.pool.address, stage.pool.address, 0),
            dataset=Party(ZERO_ADDRESS, ZERO_ADDRESS, 0),
            workerpool=Party(stage.pool.address, stage.pool.address, 0),
            trust=1,
            category=0,
            tag=SCONE_TAG,
            requester=stage.requester.address,
            beneficiary=stage.requester.address,
            callback=ZERO_ADDRESS,
            params="",
            start_time=1,
            bot_first=0,
            bot_size=1,
            worker_stake=0,
            scheduler_reward_ratio=0,
            sponsor=stage.requester.address,
        )
        chain.tasks[TASK_ID] = Task(
            status=TaskStatus.ACTIVE,
            deal_id=DEAL_ID,
            idx=0,
            timeref=300,
            contribution_deadline=FAR,
            reveal_deadline=0,
            final_deadline=FAR,
            consensus_value=ZERO_BYTES32,
            reveal_counter=0,
            winner_counter=0,
            contributors=(),
            result_digest=ZERO_BYTES32,
            results=b"",
            results_timestamp=0,
            results_callback=b"",
        )
        yield stage
        stage.proxy.close()
        stage.ipfs.close()
