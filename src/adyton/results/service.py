"""The result proxy: tokens for workers and requesters, and the upload of results."""

from __future__ import annotations

import hmac
from datetime import timedelta
from typing import Protocol

from adyton.base.clock import Clock, utc_now
from adyton.base.errors import InputError
from adyton.base.log import get_logger
from adyton.base.onetime import OneTimeValues
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32, parse_address, parse_bytes32
from adyton.chain import tags
from adyton.chain.eip712 import TypedData
from adyton.chain.models import Contribution, Deal, Task
from adyton.content.blocks import Blocks
from adyton.content.unixfs import import_file
from adyton.market.wire import CHALLENGE_LIFETIME_S, RESULTS_SERVICE, LoginError, LoginToken, challenge_document
from adyton.results import rules
from adyton.results.archive import archive_digest
from adyton.results.errors import ResultRefusedError, UnauthorizedError
from adyton.results.jwt import TokenError, TokenSigner
from adyton.results.repo import Repo
from adyton.results.rules import Authorization, TokenRefusal, UploadRefusal
from adyton.results.wire import ResultModel
from adyton.sms.wire import WorkerpoolAuthorization

_log = get_logger("results")


class Chain(Protocol):
    """What is asked of the chain; ``chain.contracts.Hub`` answers it."""

    def view_task(self, task_id: Bytes32) -> Task | None:
        """A task."""

    def view_deal(self, deal_id: Bytes32) -> Deal | None:
        """A deal."""

    def view_contribution(self, task_id: Bytes32, worker: Address) -> Contribution:
        """A worker's contribution."""


class ResultProxy:
    """Use cases of the result proxy.

    Args:
        chain: reads of the hub.
        repo: what is remembered.
        blocks: where results go.
        signer: makes tokens.
        chain_id: of the login challenges.
        clock: source of the time.
    """

    def __init__(  # noqa: PLR0917  # the parts it is made of
        self, chain: Chain, repo: Repo, blocks: Blocks, signer: TokenSigner, chain_id: int, clock: Clock = utc_now
    ) -> None:
        self._chain = chain
        self._repo = repo
        self._blocks = blocks
        self._signer = signer
        self._chain_id = chain_id
        self._clock = clock
        lifetime = timedelta(seconds=CHALLENGE_LIFETIME_S)
        self._challenges = OneTimeValues(repo.engine, "results_challenge", lifetime, clock)

    def challenge(self, address: str) -> TypedData:
        """The login challenge of a wallet.

        Raises:
            InputError: not an address.
        """
        wallet = parse_address(address)
        return self._document(self._challenges.issue(wallet, lambda value: self._document(value).digest))

    def login(self, token: str) -> Secret[str]:
        """The upload token of the wallet that signed its challenge; the challenge is used up.

        Raises:
            UnauthorizedError: not a valid login.
        """
        try:
            login = LoginToken.parse(token)
            value = self._challenges.find(login.address, login.digest) or ""
            login.check(self._document(value))
        except LoginError as error:
            raise UnauthorizedError(error.message) from error
        if not self._challenges.take(login.address, login.digest):
            raise UnauthorizedError("the challenge is unknown, used or expired")
        return self._token_of(login.address)

    def token(self, authorization: WorkerpoolAuthorization, signature: str) -> Secret[str]:
        """The upload token of a worker for the task that it is authorized for.

        Args:
            authorization: the workerpool's.
            signature: the worker's own over the authorization's hash.

        Raises:
            UnauthorizedError: a check failed; which one is logged.
        """
        try:
            parsed = Authorization(
                parse_bytes32(authorization.chain_task_id),
                parse_address(authorization.worker_wallet),
                parse_address(authorization.enclave_challenge),
                authorization.signature.value,
            )
        except InputError as error:
            raise _refuse_token(TokenRefusal.EMPTY_PARAMS_UNAUTHORIZED) from error
        if not rules.is_signed_by(parsed.challenge, signature, parsed.worker):
            raise _refuse_token(TokenRefusal.INVALID_SIGNATURE)
        task = self._chain.view_task(parsed.task_id)
        deal = None if task is None else self._chain.view_deal(task.deal_id)
        refusal = rules.check_token(parsed, task, deal, int(self._clock().timestamp()))
        if refusal is not None:
            raise _refuse_token(refusal)
        self._repo.keep_authorization(parsed)
        return self._token_of(parsed.worker)

    def authenticate(self, token: str) -> Address:
        """The wallet of an upload token; it must be the very one that was given out.

        Raises:
            UnauthorizedError: it is not.
        """
        try:
            wallet = self._signer.read(token)
        except TokenError as error:
            raise UnauthorizedError(error.message) from error
        if not hmac.compare_digest(self._repo.token(wallet) or "", token):
            raise UnauthorizedError("the token is not the wallet's")
        return wallet

    def upload(self, wallet: Address, model: ResultModel) -> str:
        """Store a task's result and return its location, ``/ipfs/<cid>``.

        Raises:
            InputError: not a task id, or no archive where one is needed.
            ResultRefusedError: the chain does not wait for it from this uploader.
        """
        task_id = parse_bytes32(model.chain_task_id)
        refusal = self._check_upload(task_id, wallet, model)
        if refusal is None:
            cid = str(import_file(model.zip, self._blocks))
            now = self._clock().timestamp()
            if self._repo.keep_result(task_id, cid, wallet, len(model.zip), now):
                _log.info("result stored", task=task_id, cid=cid, size=len(model.zip))
                return f"/ipfs/{cid}"
            refusal = UploadRefusal.ALREADY_UPLOADED
        _log.warning("result refused", task=task_id, uploader=wallet, reason=refusal.name)
        raise ResultRefusedError(f"task {task_id}: {refusal}", code=f"results.refused.{refusal.name.lower()}")

    def location(self, task_id: str) -> str | None:
        """The CID of a task's result, None when it has none.

        Raises:
            InputError: not a task id.
        """
        return self._repo.result(parse_bytes32(task_id))

    def _check_upload(self, task_id: Bytes32, wallet: Address, model: ResultModel) -> UploadRefusal | None:
        if self._repo.result(task_id) is not None:
            return UploadRefusal.ALREADY_UPLOADED
        task = self._chain.view_task(task_id)
        deal = None if task is None else self._chain.view_deal(task.deal_id)
        if task is None or deal is None:
            return UploadRefusal.TASK_UNKNOWN
        if tags.framework(deal.tag) is not None:
            known = self._repo.authorizations(task_id)
            usable = known if wallet == deal.requester else [each for each in known if each.worker == wallet]
            digest, signature = model.determinist_hash or "", model.enclave_signature or ""
            return rules.check_enclave_upload(task, task_id, digest, signature, usable)
        contribution = self._chain.view_contribution(task_id, wallet)
        has_callback = int(deal.callback, 16) != 0
        return rules.check_standard_upload(
            task, task_id, contribution, archive_digest(model.zip, callback=has_callback)
        )

    def _token_of(self, wallet: Address) -> Secret[str]:
        kept = self._repo.token(wallet)
        if kept is not None:
            return Secret(kept)
        return Secret(self._repo.keep_token(wallet, self._signer.issue(wallet, self._clock()).reveal()))

    def _document(self, value: str) -> TypedData:
        return challenge_document(RESULTS_SERVICE, self._chain_id, value)


def _refuse_token(refusal: TokenRefusal) -> UnauthorizedError:
    _log.warning("upload token refused", reason=refusal.name)
    return UnauthorizedError(f"no upload token: {refusal}", code=f"results.token.{refusal.lower()}")
