"""Real TDX through the kernel's report interface (*Linux ABI*, ``configfs-tsm``; kernel 6.7 and later).

A report is a folder below ``/sys/kernel/config/tsm/report``: ``inblob`` takes 64 bytes of report data, ``outblob``
gives the quote, ``provider`` names its format (``tdx_guest``), and ``generation`` counts the writes, so that somebody
else's write between ours and the reading is noticed. The kernel takes a write when the file is closed, where no error
can be told; that it was not taken shows in ``generation`` too.

A trust domain has no seal key: EGETKEY is SGX's. What it needs to keep, a CAS keeps for it.
"""

from __future__ import annotations

import contextlib
import errno
import hmac
import os
import secrets
from pathlib import Path
from typing import Final

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.quote import parse_quote
from adyton.attestation.formats.sgx import REPORT_DATA_BYTES, KeyRequest, TargetInfo
from adyton.attestation.formats.tdx import TdReport
from adyton.base.secret import Secret
from adyton.platform.devicefiles import DeviceFiles, OsDeviceFiles
from adyton.platform.protocol import PlatformError

FOLDER: Final = Path("/sys/kernel/config/tsm/report")
PROVIDER: Final = "tdx_guest"

_ATTEMPTS: Final = 3  # somebody else's write in our own folder is an accident; three are not


class TdxPlatform:
    """Evidence for a trust domain: what quotes and identity are made of; it has neither reports nor seal keys.

    Args:
        files: the interface's files.
    """

    def __init__(self, files: DeviceFiles | None = None) -> None:
        self._files = files or OsDeviceFiles(FOLDER)

    def quote(self, report_data: bytes) -> bytes:
        """A quote of this trust domain over 64 bytes of ``report_data``.

        Raises:
            PlatformError: ``platform.tdx.absent``: no such interface here; ``platform.tdx.provider``: it is another
                technology's; ``platform.tdx.quote``: what came is no quote; ``platform.conflict``: others write to our
                report; ``platform.tdx.file``: the kernel refuses.
        """
        if len(report_data) != REPORT_DATA_BYTES:
            raise PlatformError(
                f"report data has {REPORT_DATA_BYTES} bytes, not {len(report_data)}", code="platform.report_data"
            )
        name = f"adyton-{os.getpid()}-{secrets.token_hex(8)}"
        try:
            self._files.make_folder(name)
            try:
                quote = self._make(name, report_data)
            finally:
                with contextlib.suppress(OSError):
                    self._files.remove_folder(name)
        except OSError as error:
            raise _failed(error) from error
        return _checked(quote, report_data)

    def identity(self) -> TdReport:
        """This trust domain's measurements, taken from a quote with zero report data."""
        body = parse_quote(self.quote(bytes(REPORT_DATA_BYTES))).body
        if not isinstance(body, TdReport):
            raise PlatformError("the quote is not of a trust domain", code="platform.tdx.quote")
        return body

    def report(self, _target_info: TargetInfo, _report_data: bytes) -> bytes:
        """Local reports are SGX's.

        Raises:
            PlatformError: ``platform.tdx.unsupported``, always.
        """
        raise _unsupported("reports for a target enclave")

    def seal_key(self, _request: KeyRequest) -> Secret[bytes]:
        """Seal keys are SGX's.

        Raises:
            PlatformError: ``platform.tdx.unsupported``, always.
        """
        raise _unsupported("seal keys")

    def _make(self, name: str, report_data: bytes) -> bytes:
        provider = self._files.read(f"{name}/provider").decode(errors="replace").strip()
        if provider != PROVIDER:
            raise PlatformError(
                f"the report interface is of {provider[:32]!r}, not of {PROVIDER!r}",
                code="platform.tdx.provider",
                hint="this back end is for Intel TDX; evidence of other technologies is judged, but not made",
            )
        for _attempt in range(_ATTEMPTS):
            before = self._generation(name)
            self._files.write(f"{name}/inblob", report_data)
            if self._generation(name) == before:
                raise PlatformError("the kernel did not take the report data", code="platform.tdx.file")
            try:
                quote = self._files.read(f"{name}/outblob")
            except OSError as error:
                if error.errno == errno.EWOULDBLOCK:  # written to while the report was made
                    continue
                raise
            if self._generation(name) == before + 1:
                return quote
        raise PlatformError(
            "others write to this process's report",
            code="platform.conflict",
            hint=f"nothing else may use {FOLDER / name}",
        )

    def _generation(self, name: str) -> int:
        text = self._files.read(f"{name}/generation").strip()
        if not text.isdigit() or len(text) > 20:
            raise PlatformError("the report's generation is no number", code="platform.tdx.file")
        return int(text)


def _checked(quote: bytes, report_data: bytes) -> bytes:
    try:
        body = parse_quote(quote).body
    except FormatError as error:
        raise PlatformError(f"what the kernel gave is no quote: {error.message}", code="platform.tdx.quote") from error
    if not hmac.compare_digest(body.report_data, report_data):
        raise PlatformError("the quote is over other report data than was asked for", code="platform.conflict")
    return quote


def _failed(error: OSError) -> PlatformError:
    if error.errno == errno.ENOENT:
        return PlatformError(
            f"there is no {FOLDER}: this system is no trust domain, or its kernel has no report interface",
            code="platform.tdx.absent",
            hint="needs Linux 6.7 with CONFIG_TSM_REPORTS and the tdx_guest driver, and configfs mounted",
        )
    hint = "is the host's quote generation service running?" if error.errno in {errno.EIO, errno.ENXIO} else ""
    return PlatformError(f"the kernel made no quote: {error.strerror}", code="platform.tdx.file", hint=hint or None)


def _unsupported(what: str) -> PlatformError:
    return PlatformError(
        f"a trust domain has no {what}",
        code="platform.tdx.unsupported",
        hint="keep what must last in a CAS, which gives it back to the attested trust domain",
    )
