"""Real SGX through Gramine: the files below ``/dev/attestation`` (*Gramine documentation*, "Attestation").

| file | |
|---|---|
| ``attestation_type`` | ``dcap``: quotes with ECDSA; anything else gives no quotes that are understood here |
| ``user_report_data`` | written before ``report`` or ``quote`` is read: 64 bytes |
| ``target_info``, ``my_target_info`` | 512 bytes: whom a report is for; this enclave |
| ``report``, ``quote`` | made when read |
| ``keys/_sgx_mrenclave``, ``keys/_sgx_mrsigner`` | 16 bytes: seal keys of the *current* CPUSVN and ISVSVN, KEYID zero |

Gramine does not pass a KEYREQUEST to the CPU. Seal keys of other versions than the current ones cannot be had, so a
blob must be sealed again *before* microcode or ISVSVN rise; afterwards it is refused as such, never misread.

The two key files must serve nothing else: do not name them for an encrypted mount of the same enclave.
"""

from __future__ import annotations

import hmac
import threading
from pathlib import Path
from typing import Final

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.sgx import (
    KEY_BYTES,
    REPORT_DATA_BYTES,
    KeyName,
    KeyPolicy,
    KeyRequest,
    Report,
    ReportBody,
)
from adyton.attestation.formats.sgx import TargetInfo as Target
from adyton.base.aead import derive_key
from adyton.base.secret import Secret
from adyton.platform.devicefiles import DeviceFiles, OsDeviceFiles
from adyton.platform.protocol import PlatformError, SgxError

FOLDER: Final = Path("/dev/attestation")

_KEY_FILES: Final = {KeyPolicy.MRENCLAVE: "keys/_sgx_mrenclave", KeyPolicy.MRSIGNER: "keys/_sgx_mrsigner"}
_INVALID_CPUSVN: Final = 32
_INVALID_ISVSVN: Final = 64


class GraminePlatform:
    """The :class:`adyton.platform.protocol.Platform` of a process that Gramine runs in an SGX enclave.

    Args:
        files: the interface's files.

    Raises:
        PlatformError: ``platform.gramine.absent``: they are not there; ``platform.gramine.type``: this enclave was
            built without DCAP attestation.
    """

    def __init__(self, files: DeviceFiles | None = None) -> None:
        self._files = files or OsDeviceFiles(FOLDER)
        self._lock = threading.Lock()  # the files are one state for the whole process
        kind = self._read("attestation_type").rstrip(b"\0\n")
        if kind != b"dcap":
            raise PlatformError(
                f"Gramine's attestation type is {kind[:32].decode(errors='replace')!r}, not 'dcap'",
                code="platform.gramine.type",
                hint='set sgx.remote_attestation = "dcap" in the Gramine manifest, and sign it again',
            )

    def report(self, target_info: Target, report_data: bytes) -> bytes:
        """EREPORT; see :class:`adyton.platform.protocol.Platform`."""
        with self._lock:
            self._write("target_info", target_info.to_bytes())
            self._write("user_report_data", _checked(report_data))
            data = self._read("report")
        try:
            body = Report.parse(data).body
        except FormatError as error:
            raise PlatformError(f"Gramine's report: {error.message}", code="platform.gramine.report") from error
        _require_same(body.report_data, report_data)
        return data

    def quote(self, report_data: bytes) -> bytes:
        """A quote by the machine's quoting enclave; see :class:`adyton.platform.protocol.Platform`."""
        with self._lock:
            self._write("user_report_data", _checked(report_data))
            data = self._read("quote")
        try:
            body = parse_quote(data).body
        except FormatError as error:
            raise PlatformError(f"Gramine's quote: {error.message}", code="platform.gramine.quote") from error
        _require_same(body.report_data, report_data)
        return data

    def seal_key(self, request: KeyRequest) -> Secret[bytes]:
        """A key bound to all of ``request``, of the current CPUSVN and ISVSVN.

        Raises:
            SgxError: the request is of a newer version than now, as the CPU would say.
            PlatformError: ``platform.key``: no seal key, or a policy that is not exactly MRENCLAVE or MRSIGNER;
                ``platform.gramine.version``: the request is of an older version.
        """
        name = _KEY_FILES.get(KeyPolicy(request.keypolicy))
        if request.keyname != KeyName.SEAL or name is None:
            raise PlatformError("Gramine gives seal keys by MRENCLAVE or by MRSIGNER only", code="platform.key")
        _check_version(request, self.identity())
        with self._lock:
            key = self._read(name)
        if len(key) != KEY_BYTES:
            raise PlatformError(f"{name} has {len(key)} bytes, not {KEY_BYTES}", code="platform.gramine.key")
        return Secret(derive_key(Secret(key), "gramine/seal", request.to_bytes()).reveal()[:KEY_BYTES])

    def identity(self) -> ReportBody:
        """This enclave's identity and the CPU's CPUSVN, from a report for itself."""
        try:
            target = Target.parse(self._read("my_target_info"))
        except FormatError as error:
            raise PlatformError(f"Gramine's target info: {error.message}", code="platform.gramine.report") from error
        return Report.parse(self.report(target, bytes(REPORT_DATA_BYTES))).body

    def _read(self, path: str) -> bytes:
        try:
            return self._files.read(path)
        except OSError as error:
            raise _failed(path, error) from error

    def _write(self, path: str, data: bytes) -> None:
        try:
            self._files.write(path, data)
        except OSError as error:
            raise _failed(path, error) from error


def _check_version(request: KeyRequest, body: ReportBody) -> None:
    if any(asked > current for asked, current in zip(request.cpusvn, body.cpusvn, strict=True)):
        raise SgxError("EGETKEY", _INVALID_CPUSVN, "the key of a newer microcode is not given to an older one")
    if request.isvsvn > body.isvsvn:
        raise SgxError("EGETKEY", _INVALID_ISVSVN, f"the key of ISVSVN {request.isvsvn} is not given to {body.isvsvn}")
    if (request.cpusvn, request.isvsvn) != (body.cpusvn, body.isvsvn):
        raise PlatformError(
            "the key is of an older microcode or ISVSVN, and Gramine has only the current one",
            code="platform.gramine.version",
            hint="go back to the versions that sealed it, open it, and seal it again before the update",
        )


def _checked(report_data: bytes) -> bytes:
    if len(report_data) != REPORT_DATA_BYTES:
        raise PlatformError(
            f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}", code="platform.report_data"
        )
    return report_data


def _require_same(found: bytes, written: bytes) -> None:
    """The files are one state: another part of the process may have written between our two steps."""
    if not hmac.compare_digest(found, written):
        raise PlatformError(
            "the evidence is over other report data than was asked for",
            code="platform.conflict",
            hint="nothing else in this enclave may use /dev/attestation at the same time",
        )


def _failed(path: str, error: OSError) -> PlatformError:
    if isinstance(error, FileNotFoundError):
        return PlatformError(
            f"there is no {FOLDER / path}: this process is not in a Gramine SGX enclave with this interface",
            code="platform.gramine.absent",
            hint="start it with gramine-sgx, from a manifest with sgx.remote_attestation",
        )
    return PlatformError(f"{FOLDER / path}: {error.strerror}", code="platform.gramine.file")
