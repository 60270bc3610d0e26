"""What the operator of an SMS does with it while it runs, over its attested TLS port with the operator's own key.

The five official operations on backups and the exchange of keys; none shows a secret. The SMS must name the key's hash
in ``ADYTON_SMS_ADMINS``.
"""

from __future__ import annotations

import ssl
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from pydantic import ValidationError

from adyton.base.errors import AdytonError, InputError, UnavailableError
from adyton.base.jsontext import parse_json
from adyton.sms.attest import AttestedSms
from adyton.sms.wire import RotationAnswer
from adyton.web.client import AnswerError, HttpClient

_PATIENCE_S: Final = 600.0  # every row is written anew before the answer


class SmsRefusedError(AdytonError):
    """The SMS did not do it; its code says why where it gives one."""

    code = "sms.admin.refused"


class SmsOperator:
    """Orders to one SMS.

    Args:
        sms: the SMS, verified: its connection's key is the attested one.
        certificate: PEM client certificate of the operator.
        key: PEM private key.

    Raises:
        InputError: the two cannot be read or do not belong together.
    """

    def __init__(self, sms: AttestedSms, certificate: Path, key: Path) -> None:
        context = sms.context()
        try:
            context.load_cert_chain(certificate, key)
        except (OSError, ssl.SSLError) as error:
            raise InputError(
                f"the operator's key {key} or its certificate {certificate.name} cannot be used: {error}",
                code="sms.operator.identity",
                hint="name the folder of the key whose hash the SMS has in ADYTON_SMS_ADMINS",
            ) from error
        self._http = HttpClient(sms.url, "SMS", timeout_s=_PATIENCE_S, verify=context)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        self._http.close()

    def rotate_keys(self) -> RotationAnswer:
        """Have the database key exchanged and every row sealed anew.

        Raises:
            SmsRefusedError: it was not done, or not to the end; the code says which.
            UnavailableError: the SMS cannot be reached.
        """
        content = self._order("POST", "/admin/rotate-keys")
        try:
            return RotationAnswer.model_validate_json(content)
        except ValidationError as error:
            raise UnavailableError("the SMS's answer cannot be understood", code="sms.answer") from error

    def backup(self) -> None:
        """Make a backup: ``work/backup.sql`` below the storage location.

        Raises:
            SmsRefusedError, UnavailableError: as :meth:`rotate_keys`.
        """
        self._order("POST", "/admin/backup")

    def replicate(self, folder: str, name: str) -> None:
        """Copy the backup of :meth:`backup` to ``folder``, a path in the SMS's storage location, under ``name``.

        Raises:
            SmsRefusedError, UnavailableError: as :meth:`rotate_keys`.
        """
        self._order("POST", f"/admin/{_id(folder)}/replicate-backup", fileName=name)

    def restore(self, folder: str, name: str) -> None:
        """Put the database into the state of a backup.

        Raises:
            SmsRefusedError: ``sms.backup.*`` says why; the database is as it was.
            UnavailableError: as :meth:`rotate_keys`.
        """
        self._order("POST", f"/admin/{_id(folder)}/restore-backup", fileName=name)

    def delete(self, folder: str, name: str) -> None:
        """Delete a backup.

        Raises:
            SmsRefusedError, UnavailableError: as :meth:`rotate_keys`.
        """
        self._order("DELETE", f"/admin/{_id(folder)}/delete-backup", fileName=name)

    def copy(self, folder: str, name: str, to_folder: str, to_name: str) -> None:
        """Copy a backup, never over another one.

        Raises:
            SmsRefusedError, UnavailableError: as :meth:`rotate_keys`.
        """
        query = {"sourceFileName": name, "destinationFileName": to_name}
        self._order("POST", f"/admin/{_id(folder)}/copy-to/{_id(to_folder)}", **query)

    def _order(self, method: str, path: str, **query: str) -> bytes:
        try:
            return self._http.request(method, path, params=query).content
        except AnswerError as error:
            raise _refusal(error) from error


def _id(folder: str) -> str:
    """How the official operations name a folder.

    Raises:
        InputError: not an absolute ASCII path.
    """
    if not folder.isascii() or not folder.startswith("/"):
        raise InputError("a folder of the SMS is named by an absolute path in ASCII", code="sms.operator.folder")
    return folder.encode().hex()


def _refusal(error: AnswerError) -> SmsRefusedError:
    try:
        problem = parse_json(error.body.encode())
    except ValueError:
        problem = None
    if isinstance(problem, dict) and isinstance(problem.get("code"), str) and isinstance(problem.get("detail"), str):
        hint = problem.get("hint")
        return SmsRefusedError(problem["detail"], code=problem["code"], hint=hint if isinstance(hint, str) else None)
    if error.status in (401, 403):
        return SmsRefusedError(
            "this key is not one of the SMS's administrators",
            code="sms.admin.forbidden",
            hint="name its hash in ADYTON_SMS_ADMINS and start the SMS again",
        )
    return SmsRefusedError(error.message)
