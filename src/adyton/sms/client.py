"""Typed calls to a secret management service: what SDK, scheduler and worker use.

Every push signs its challenge as protocol section 2 says; every refusal comes back as a typed error with the text
official clients show (client reference, section 4.2).
"""

from __future__ import annotations

import http
import ssl
from dataclasses import dataclass
from urllib.parse import quote

from pydantic import ValidationError

from adyton.base.errors import InputError, UnavailableError
from adyton.base.jsontext import parse_json
from adyton.base.secret import Secret
from adyton.base.types import Address, Bytes32, parse_address
from adyton.chain.wallet import Wallet
from adyton.sms.access import recipes
from adyton.sms.errors import (
    ChallengeRefusedError,
    FrameworkMismatchError,
    NotAllowedError,
    SecretExistsError,
    SecretNameError,
    SecretNotFoundError,
    SecretSizeError,
    SessionRefusedError,
    UnexpectedStatusError,
)
from adyton.sms.wire import (
    BAD_KEY_TEXT,
    MAX_SECRET_BYTES,
    TOO_LARGE_TEXT,
    Framework,
    SessionAnswer,
    SessionFailure,
    TeeProperties,
    WorkerpoolAuthorization,
)
from adyton.web.client import HttpClient

_ANY_STATUS = tuple(range(200, 600))
_PLAIN = "text/plain"


@dataclass(frozen=True, slots=True)
class Session:
    """An opened session.

    Attributes:
        session_id: its name in the CAS; whoever knows it still has to attest. Log only its hash.
        provisioning_url: ``host:port`` of the CAS endpoint for enclaves.
    """

    session_id: str
    provisioning_url: str


class SmsClient:
    """Calls one secret management service.

    Args:
        url: its base URL.
        timeout_s: seconds for connect and for each read.
        tls: what to accept as the other end of ``https://``, as :meth:`adyton.sms.attest.AttestedSms.context` makes it;
            None asks the usual authorities.
    """

    def __init__(self, url: str, *, timeout_s: float = 20, tls: ssl.SSLContext | None = None) -> None:
        self.url = url.rstrip("/")
        self._http = HttpClient(self.url, "SMS", timeout_s=timeout_s, **({} if tls is None else {"verify": tls}))

    def close(self) -> None:
        """Release the connections."""
        self._http.close()

    # -- existence ----------------------------------------------------------------------------------------------

    def check_web3(self, address: Address) -> bool:
        """Whether the dataset (or other asset) at ``address`` has its secret.

        Raises:
            UnavailableError: no answer.
            UnexpectedStatusError: an answer that is neither yes nor no.
        """
        return self._exists("/secrets/web3", {"secretAddress": address})

    def check_web2(self, owner: Address, name: str) -> bool:
        """Whether ``owner`` has a web2 secret ``name``.

        Raises:
            UnavailableError: no answer.
            UnexpectedStatusError: an answer that is neither yes nor no.
        """
        return self._exists("/secrets/web2", {"ownerAddress": owner, "secretName": name})

    def check_app(self, app: Address) -> bool:
        """Whether the app has its developer secret.

        Raises:
            UnavailableError: no answer.
            UnexpectedStatusError: an answer that is neither yes nor no.
        """
        return self._exists(f"/apps/{app}/secrets", {})

    def check_requester(self, requester: Address, key: str) -> bool:
        """Whether ``requester`` has a secret named ``key``.

        Raises:
            UnavailableError: no answer.
            UnexpectedStatusError: an answer that is neither yes nor no.
        """
        return self._exists(f"/requesters/{requester}/secrets/{quote(key, safe='')}", {})

    # -- pushes -------------------------------------------------------------------------------------------------

    def push_web3(self, address: Address, value: Secret[str], wallet: Wallet) -> None:
        """Store the secret of an asset for ever; ``wallet`` is the asset's owner.

        Raises:
            NotAllowedError: the wallet does not own the asset.
            SecretExistsError: it is there already.
            SecretSizeError: more than 4,096 bytes.
            UnavailableError, UnexpectedStatusError: as for :meth:`check_web3`.
        """
        challenge = recipes.web3_challenge(address, value.reveal())
        status = self._push(
            "POST", "/secrets/web3", {"secretAddress": address}, challenge=challenge, value=value, wallet=wallet
        )
        _raise_for_push(status, f"Secret already exists for {address} and can't be updated", address, wallet.address)

    def push_web2(self, name: str, value: Secret[str], wallet: Wallet, *, force_update: bool = False) -> bool:
        """Store a web2 secret of ``wallet``.

        Args:
            name: secret name, case-insensitive for the service.
            value: the secret.
            wallet: its owner.
            force_update: replace a value that is there.

        Returns:
            True when a value was there and has been replaced.

        Raises:
            SecretExistsError: it is there and ``force_update`` is off.
            NotAllowedError: refused.
            SecretSizeError: more than 4,096 bytes.
            UnavailableError, UnexpectedStatusError: as for :meth:`check_web2`.
        """
        owner = wallet.address
        exists = self.check_web2(owner, name)
        taken = f'Secret "{name}" already exists for {owner}'
        if exists and not force_update:
            raise SecretExistsError(taken)
        challenge = recipes.web2_challenge(owner, name, value.reveal())
        query = {"ownerAddress": owner, "secretName": name}
        status = self._push(
            "PUT" if exists else "POST", "/secrets/web2", query, challenge=challenge, value=value, wallet=wallet
        )
        if status == http.HTTPStatus.NOT_FOUND:
            raise SecretNotFoundError(f'no secret "{name}" to update for {owner}')
        _raise_for_push(status, taken, owner, owner)
        return exists

    def push_app(self, app: Address, value: Secret[str], wallet: Wallet) -> None:
        """Store the developer secret of an app for ever; ``wallet`` is the app's owner.

        Raises:
            NotAllowedError, SecretExistsError, SecretSizeError, UnavailableError, UnexpectedStatusError: as for
                :meth:`push_web3`.
        """
        challenge = recipes.app_challenge(app, value.reveal())
        status = self._push("POST", f"/apps/{app}/secrets", {}, challenge=challenge, value=value, wallet=wallet)
        _raise_for_push(status, f"Secret already exists for {app} and can't be updated", app, wallet.address)

    def push_requester(self, key: str, value: Secret[str], wallet: Wallet) -> None:
        """Store a named requester secret of ``wallet`` for ever.

        Raises:
            SecretNameError: the key is not 1 to 64 characters of ``[0-9A-Za-z-_]``.
            NotAllowedError, SecretExistsError, SecretSizeError, UnavailableError, UnexpectedStatusError: as for
                :meth:`push_web3`.
        """
        owner = wallet.address
        taken = f'Secret "{key}" already exists for {owner}'
        if self.check_requester(owner, key):
            raise SecretExistsError(taken)
        challenge = recipes.requester_challenge(owner, key, value.reveal())
        path = f"/requesters/{owner}/secrets/{quote(key, safe='')}"
        status = self._push("POST", path, {}, challenge=challenge, value=value, wallet=wallet)
        if status == http.HTTPStatus.BAD_REQUEST:
            raise SecretNameError(BAD_KEY_TEXT)
        _raise_for_push(status, taken, owner, owner)

    # -- tee ----------------------------------------------------------------------------------------------------

    def framework(self) -> Framework:
        """The TEE framework of this service.

        Raises:
            UnavailableError: no answer, or one that is not a framework.
            UnexpectedStatusError: an error status.
        """
        body = self._get("/tee/framework")
        try:
            return Framework(parse_json(body))
        except (ValueError, TypeError) as error:
            raise UnavailableError(f"SMS at {self.url} names no known TEE framework") from error

    def properties(self, framework: Framework | str, version: str) -> TeeProperties:
        """The helper enclaves of one framework version.

        Raises:
            FrameworkMismatchError: the service runs another framework (``sms.framework.mismatch``) or does not have
                this version (``sms.framework.version``).
            UnavailableError, UnexpectedStatusError: as for :meth:`framework`.
        """
        response = self._http.request(
            "GET", f"/tee/properties/{framework}/{quote(version, safe='')}", expect=_ANY_STATUS
        )
        if response.status_code == http.HTTPStatus.NOT_FOUND:
            raise FrameworkMismatchError(f"SMS at {self.url} has no version {version}", code="sms.framework.version")
        if response.status_code == http.HTTPStatus.CONFLICT:
            raise FrameworkMismatchError(f"SMS at {self.url} does not run {framework}")
        if response.status_code != http.HTTPStatus.OK:
            raise _unexpected(response.status_code)
        try:
            return TeeProperties.model_validate_json(response.content)
        except ValidationError as error:
            raise UnavailableError(f"SMS at {self.url} sent malformed properties") from error

    def challenge(self, task_id: Bytes32, wallet: Wallet) -> Address:
        """The enclave challenge of a task, made on the first call; ``wallet`` is the deal's workerpool owner.

        Raises:
            ChallengeRefusedError: the service does not authorize it, or could not make one.
            UnavailableError, UnexpectedStatusError: as for :meth:`framework`.
        """
        signature = recipes.sign(recipes.authorization_challenge("", task_id, ""), wallet)
        response = self._http.request(
            "POST", f"/tee/challenges/{task_id}", expect=_ANY_STATUS, headers={"Authorization": signature}
        )
        if response.status_code in (http.HTTPStatus.UNAUTHORIZED, http.HTTPStatus.NOT_FOUND):
            raise ChallengeRefusedError(
                f"SMS answered {response.status_code} to the enclave challenge of task {task_id}",
                hint="the task must be active, of this SMS's framework, and the wallet the deal's workerpool owner",
            )
        if response.status_code != http.HTTPStatus.OK:
            raise _unexpected(response.status_code)
        try:
            return parse_address(response.text.strip())
        except InputError as error:
            raise UnavailableError(f"SMS at {self.url} sent no address as enclave challenge") from error

    def session(self, authorization: WorkerpoolAuthorization, wallet: Wallet) -> Session:
        """Open the session of a task for the worker ``wallet``.

        Raises:
            SessionRefusedError: refused; its ``failure`` is the official reason, ``UNKNOWN_ISSUE`` when the answer
                cannot be decoded.
            UnavailableError: no answer.
        """
        challenge = recipes.authorization_challenge(
            authorization.worker_wallet, authorization.chain_task_id, authorization.enclave_challenge
        )
        response = self._http.request(
            "POST",
            "/tee/sessions",
            expect=_ANY_STATUS,
            headers={"Authorization": recipes.sign(challenge, wallet)},
            json=authorization.model_dump(by_alias=True),
        )
        try:
            answer = SessionAnswer.model_validate_json(response.content)
        except ValidationError as error:
            detail = f"status {response.status_code}"
            raise SessionRefusedError(SessionFailure.UNKNOWN_ISSUE, detail) from error
        if response.status_code == http.HTTPStatus.OK and answer.data is not None:
            return Session(answer.data.session_id, answer.data.secret_provisioning_url)
        raise SessionRefusedError(_failure(answer.error), f"status {response.status_code}")

    # -- plumbing -----------------------------------------------------------------------------------------------

    def _exists(self, path: str, query: dict[str, str]) -> bool:
        status = self._http.request("HEAD", path, expect=_ANY_STATUS, params=query).status_code
        if 200 <= status < 300:
            return True
        if status == http.HTTPStatus.NOT_FOUND:
            return False
        raise _unexpected(status)

    def _get(self, path: str) -> bytes:
        response = self._http.request("GET", path, expect=_ANY_STATUS)
        if response.status_code != http.HTTPStatus.OK:
            raise _unexpected(response.status_code)
        return response.content

    def _push(
        self, method: str, path: str, query: dict[str, str], *, challenge: Bytes32, value: Secret[str], wallet: Wallet
    ) -> int:
        body = value.reveal().encode()
        if len(body) > MAX_SECRET_BYTES:
            raise SecretSizeError(TOO_LARGE_TEXT, hint=f"the value has {len(body)} bytes, the limit is 4096")
        # An update may put an old value back; a repeated signature would be refused as a replay.
        sign = recipes.sign_afresh if method == "PUT" else recipes.sign
        headers = {"Authorization": sign(challenge, wallet), "Content-Type": _PLAIN}
        response = self._http.request(method, path, expect=_ANY_STATUS, params=query, headers=headers, content=body)
        return response.status_code


def _raise_for_push(status: int, taken: str, subject: str, wallet: str) -> None:
    if 200 <= status < 300:
        return
    if status == http.HTTPStatus.CONFLICT:
        raise SecretExistsError(taken)
    if status == http.HTTPStatus.UNAUTHORIZED:
        raise NotAllowedError(f"Wallet {wallet} is not allowed to set secret for {subject}")
    if status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        raise SecretSizeError(TOO_LARGE_TEXT)
    raise _unexpected(status)


def _unexpected(status: int) -> UnexpectedStatusError:
    try:
        text = http.HTTPStatus(status).phrase
    except ValueError:
        text = ""
    return UnexpectedStatusError(f"SMS answered with unexpected status: {status} {text}".rstrip())


def _failure(text: str | None) -> SessionFailure:
    try:
        return SessionFailure(text or "")
    except ValueError:
        return SessionFailure.UNKNOWN_ISSUE
