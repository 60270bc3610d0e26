"""Sealing: keeping data that only the same enclave, or the same signer's enclave, on the same CPU reads again.

A blob is ``magic(8) || KEYREQUEST(512) || check(16) || nonce(12) || ciphertext || tag(16)``. It holds the whole
KEYREQUEST it was sealed with, so that a microcode or enclave update, which changes the current key, still finds the
old one; after an update, unseal and seal again. The request and the caller's context are authenticated. ``check`` is
derived from the seal key: it tells another enclave or CPU from damaged data.
"""

from __future__ import annotations

import hmac
import os
from typing import Final

from adyton.attestation.errors import FormatError
from adyton.attestation.sgx import KeyName, KeyPolicy, KeyRequest
from adyton.base import aead
from adyton.base.secret import Secret
from adyton.platform.protocol import Platform, PlatformError, SgxError

MAGIC: Final = b"ADYSEAL1"
MAX_BLOB_BYTES: Final = 256 << 20

_CHECK_BYTES = 16
_REQUEST_END = len(MAGIC) + KeyRequest.LAYOUT.size
_HEADER_END = _REQUEST_END + _CHECK_BYTES
_SVN_CODES = {32, 64}  # INVALID_CPUSVN, INVALID_ISVSVN


class SealingError(PlatformError):
    """A sealed blob cannot be opened.

    Attributes:
        code: ``sealing.other_enclave_or_cpu``, ``sealing.newer`` (sealed at a newer microcode or enclave version
            than now), ``sealing.corrupt``, ``sealing.format`` or ``sealing.policy``.
    """

    code = "sealing.corrupt"


def seal(
    platform: Platform, plaintext: bytes, *, policy: KeyPolicy = KeyPolicy.MRENCLAVE, context: bytes = b""
) -> bytes:
    """Seal ``plaintext`` for this enclave.

    Args:
        platform: of the calling enclave.
        plaintext: what to keep.
        policy: MRENCLAVE: only this very build reads it; MRSIGNER: all of the signer's builds of this product at
            this or a higher security version do.
        context: what the blob is; must be given again to open it.

    Raises:
        SealingError: ``sealing.policy``: a policy that binds neither measurement nor signer.
        PlatformError: the platform refuses.
    """
    if not policy & (KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER):
        raise SealingError("a sealing policy must bind MRENCLAVE or MRSIGNER", code="sealing.policy")
    body = platform.identity()
    request = KeyRequest(KeyName.SEAL, keypolicy=policy, isvsvn=body.isvsvn, cpusvn=body.cpusvn, keyid=os.urandom(32))
    header = MAGIC + request.to_bytes()
    key, check = _keys(platform.seal_key(request), header)
    return header + check + aead.encrypt(key, plaintext, header, context)


def unseal(platform: Platform, blob: bytes, context: bytes = b"") -> bytes:
    """Open a blob that :func:`seal` made.

    Raises:
        SealingError: see there; never anything but the exact plaintext is returned.
        PlatformError: the platform cannot be reached.
    """
    request = _request(blob)
    header = blob[:_REQUEST_END]
    try:
        seal_key = platform.seal_key(request)
    except SgxError as error:
        raise _refused(error) from error
    key, check = _keys(seal_key, header)
    if not hmac.compare_digest(check, blob[_REQUEST_END:_HEADER_END]):
        raise SealingError(
            "the blob was sealed by another enclave, in another mode, or on another CPU",
            code="sealing.other_enclave_or_cpu",
            hint="open it with the enclave and on the machine that sealed it",
        )
    try:
        return aead.decrypt(key, blob[_HEADER_END:], header, context)
    except aead.DecryptionError as error:
        raise SealingError("the sealed blob is damaged, or is not what it is taken for") from error


def key_request(blob: bytes) -> KeyRequest:
    """The KEYREQUEST that a blob was sealed with: tells whether it is time to seal again.

    Raises:
        SealingError: ``sealing.format``.
    """
    return _request(blob)


def _request(blob: bytes) -> KeyRequest:
    if not _HEADER_END <= len(blob) <= MAX_BLOB_BYTES or not blob.startswith(MAGIC):
        raise SealingError("not a sealed blob", code="sealing.format")
    try:
        request = KeyRequest.parse(blob[len(MAGIC) : _REQUEST_END], base=len(MAGIC))
    except FormatError as error:
        raise SealingError(f"not a sealed blob: {error.message}", code="sealing.format") from error
    if request.keyname != KeyName.SEAL:
        raise SealingError("the blob does not name a seal key", code="sealing.format")
    return request


def _keys(seal_key: Secret[bytes], header: bytes) -> tuple[Secret[bytes], bytes]:
    check = aead.derive_key(seal_key, "sealing/check", header).reveal()[:_CHECK_BYTES]
    return aead.derive_key(seal_key, "sealing/data", header), check


def _refused(error: SgxError) -> SealingError:
    if error.sgx_code in _SVN_CODES:
        return SealingError(
            f"the blob was sealed at a newer version: {error.message}",
            code="sealing.newer",
            hint="start the newer enclave or microcode that sealed it",
        )
    return SealingError(f"the CPU refuses the blob's key: {error.message}", code="sealing.format")
