"""Who may do what, decided from the request and facts of the chain (protocol, sections 2 and 3.1).

The order of checks and the reasons are the official ones. Stricter, where a client cannot tell (section 10.3):

- facts count only while the chain's head is fresh, else the node may be cut off (``GET_CHAIN_TASK_FAILED``);
- a task past its final deadline is not active any more (``TASK_NOT_ACTIVE``);
- the deal's framework must be this service's (``NO_MATCH_ONCHAIN_TYPE``);
- assets must come from the registries, so that no contract with an ``owner()`` of its own invention is an authority.

Signatures are judged before the chain is read wherever the request itself names the signer, so a bad one costs no
call to the node.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.types import ZERO_BYTES32, Bytes32, parse_address, parse_bytes32
from adyton.chain import tags
from adyton.chain.contracts import AssetKind, TaskStatus
from adyton.sms.access import recipes
from adyton.sms.access.signatures import Credential, Signatures, well_formed
from adyton.sms.errors import NotAllowedError, SessionRefusedError
from adyton.sms.onchain.view import ChainView, DealFacts, Head, TaskFacts
from adyton.sms.wire import AuthorizationError, Framework, SessionFailure, WorkerpoolAuthorization


class NotAuthorizedError(AdytonError):
    """The execution is not authorized; ``reason`` is the official one."""

    code = "sms.not_authorized"

    def __init__(self, reason: AuthorizationError, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Rules:
    """What this service accepts.

    Attributes:
        framework: its own TEE framework.
        max_head_age_s: seconds the chain's newest block may lie behind ``now``.
    """

    framework: Framework
    max_head_age_s: int


@dataclass(frozen=True, slots=True)
class Authorized:
    """A task whose execution the chain and the workerpool's signature allow."""

    task: TaskFacts
    deal: DealFacts


def check_asset_owner(
    view: ChainView,
    signatures: Signatures,
    challenge: Bytes32,
    credential: Credential,
    asset: str,
    *,
    kinds: frozenset[AssetKind],
) -> bytes:
    """Check that the owner of a registered asset made the signature; returns its mark, see :class:`Signatures`.

    Raises:
        NotAllowedError: not an asset of ``kinds``, or signed by somebody else.
        TooManyRequestsError: see :class:`Signatures`.
        UnavailableError: the chain cannot be read.
    """
    if well_formed(challenge, credential.signature) is None:
        raise NotAllowedError("the signature is malformed")
    try:
        address = parse_address(asset)
    except InputError:
        raise NotAllowedError(f"{asset[:64]!r} is no address") from None
    if view.asset_kind(address) not in kinds:
        raise NotAllowedError(f"{address} is in no registry of {' or '.join(sorted(kinds))}s")
    owner = view.owner(address)
    if owner is None:
        raise NotAllowedError(f"{address} has no owner")
    return signatures.check(challenge, credential, owner)


def check_fresh(head: Head, now: datetime, max_head_age_s: int) -> None:
    """Check that the node follows the chain.

    Raises:
        UnavailableError: its newest block is too old.
    """
    age = int(now.timestamp()) - head.timestamp
    if age > max_head_age_s:
        raise UnavailableError(
            f"the chain's newest block {head.number} is {age} s old, at most {max_head_age_s} s are accepted",
            code="sms.chain.stale",
            hint="see whether the node is in step with its network",
        )


def check_worker(authorization: WorkerpoolAuthorization, signature: str) -> None:
    """Check 0: the worker that asks for a session signed the authorization hash. A worker is no contract.

    Raises:
        SessionRefusedError: ``INVALID_AUTHORIZATION``.
    """
    try:
        challenge = recipes.authorization_challenge(
            authorization.worker_wallet, authorization.chain_task_id, authorization.enclave_challenge
        )
        worker = parse_address(authorization.worker_wallet)
    except InputError as error:
        raise SessionRefusedError(SessionFailure.INVALID_AUTHORIZATION, error.message) from error
    if recipes.signer_of(challenge, signature) != worker:
        raise SessionRefusedError(SessionFailure.INVALID_AUTHORIZATION, f"the signature is not by {worker}")


@dataclass(frozen=True, slots=True)
class Authorizer:
    """Checks 1 to 6.

    Attributes:
        view: chain.
        signatures: judge of the workerpool's signature.
        rules: what this service accepts.
    """

    view: ChainView
    signatures: Signatures
    rules: Rules

    def session(self, authorization: WorkerpoolAuthorization, client: str, now: datetime) -> Authorized:
        """For ``/tee/sessions``.

        Raises:
            NotAuthorizedError: the first check that failed.
            TooManyRequestsError: see :class:`Signatures`.
        """
        subject = (authorization.worker_wallet, authorization.enclave_challenge)
        credential = Credential(authorization.signature.value, client)
        return self._authorize(authorization.chain_task_id, subject, credential, now)

    def challenge(self, task_id: str, credential: Credential, now: datetime) -> Authorized:
        """For ``/tee/challenges``: worker and enclave challenge are empty.

        Raises:
            NotAuthorizedError, TooManyRequestsError: as :meth:`session`.
        """
        return self._authorize(task_id, ("", ""), credential, now)

    def _authorize(self, task_id: str, subject: tuple[str, str], credential: Credential, now: datetime) -> Authorized:
        if not task_id:  # 1
            raise NotAuthorizedError(AuthorizationError.EMPTY_PARAMS_UNAUTHORIZED, "no task id")
        worker, enclave_challenge = subject
        try:
            word = parse_bytes32(task_id)
            challenge = recipes.authorization_challenge(worker, task_id, enclave_challenge)
        except InputError as error:  # no such task can be
            raise NotAuthorizedError(AuthorizationError.GET_CHAIN_TASK_FAILED, error.message) from error
        if well_formed(challenge, credential.signature) is None:  # part of 6, ahead of it: it costs no call
            raise NotAuthorizedError(AuthorizationError.INVALID_SIGNATURE, "the signature is malformed")
        task, head = _task(self.view, word, self.rules, now)  # 2
        _check_active(task, head, now)  # 3
        deal = _deal(self.view, task.deal_id)  # 4
        if tags.framework(deal.tag) != self.rules.framework:  # 5
            raise NotAuthorizedError(
                AuthorizationError.NO_MATCH_ONCHAIN_TYPE, f"tag {deal.tag} does not ask for {self.rules.framework}"
            )
        try:  # 6
            self.signatures.check(challenge, credential, deal.workerpool_owner)
        except (NotAllowedError, UnavailableError) as error:
            raise NotAuthorizedError(AuthorizationError.INVALID_SIGNATURE, error.message) from error
        return Authorized(task, deal)


def _task(view: ChainView, word: Bytes32, rules: Rules, now: datetime) -> tuple[TaskFacts, Head]:
    try:
        head = view.head()
        check_fresh(head, now, rules.max_head_age_s)
        task = view.task(word)
    except UnavailableError as error:
        raise NotAuthorizedError(AuthorizationError.GET_CHAIN_TASK_FAILED, error.message) from error
    if task is None or task.deal_id == ZERO_BYTES32:
        raise NotAuthorizedError(AuthorizationError.GET_CHAIN_TASK_FAILED, f"no task {word}")
    return task, head


def _check_active(task: TaskFacts, head: Head, now: datetime) -> None:
    if task.status is not TaskStatus.ACTIVE:
        raise NotAuthorizedError(AuthorizationError.TASK_NOT_ACTIVE, f"task {task.task_id} is {task.status.name}")
    # The later of two clocks that the host can influence in different ways.
    if max(head.timestamp, int(now.timestamp())) >= task.final_deadline:
        raise NotAuthorizedError(
            AuthorizationError.TASK_NOT_ACTIVE, f"the final deadline of task {task.task_id} has passed"
        )


def _deal(view: ChainView, deal_id: Bytes32) -> DealFacts:
    try:
        deal = view.deal(deal_id)
    except UnavailableError as error:
        raise NotAuthorizedError(AuthorizationError.GET_CHAIN_DEAL_FAILED, error.message) from error
    if deal is None or deal.start_time <= 0:
        raise NotAuthorizedError(AuthorizationError.GET_CHAIN_DEAL_FAILED, f"no started deal {deal_id}")
    return deal
