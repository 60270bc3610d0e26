"""Sealing: keeping data that only the same enclave, or the same signer's enclave, on the same CPU reads again.

A blob (format 2; integers little-endian)::

    offset size
         0    8  magic "ADYSEAL2"
         8  512  KEYREQUEST that the seal key was derived with
       520  384  REPORT body of the sealer, report data zero: who sealed it, at which CPUSVN      (hint)
       904    8  value of the rollback counter for which this blob is current; 0: bound to none
       912    8  size of what follows the header
       920   16  salt of the platform's mark
       936   16  mark of the platform: 0 where the platform gives no key to make one from          (hint)
       952   16  check of the seal key
       968   16  check of the caller's context
       984   16  MAC of the 984 bytes above it
      1000       nonce(12) || AES-256-GCM ciphertext || tag(16), over the whole header and the context

The whole KEYREQUEST is kept because a microcode or enclave update changes the *current* key: whoever derives sealing
keys from the current CPUSVN loses data at the next update. Here the old key is still found, and :func:`open_current`
says when it is time to seal again.

Whether a blob opens is decided by the seal key alone. The hints only name the reason of a refusal; who edits them gets
another refusal. Sealer and platform mark say nothing that is secret: measurements are public, and the mark is a keyed
hash over a fresh salt, so that only enclaves on the same CPU can tell that two blobs come from one machine.

Nobody can tell from outside whether a blob is the newest one. For that the caller brings a :class:`RollbackCounter`.
"""

from __future__ import annotations

import hmac
import os
import struct
from dataclasses import dataclass
from typing import Final, Protocol

from adyton.attestation.errors import FormatError
from adyton.attestation.formats.sgx import Attributes, KeyName, KeyPolicy, KeyRequest, ReportBody
from adyton.base import aead
from adyton.base.secret import Secret
from adyton.platform.protocol import Platform, PlatformError, SgxError

MAGIC: Final = b"ADYSEAL2"
MAX_BLOB_BYTES: Final = 256 << 20

_CHECK_BYTES: Final = 16
_TAG_BYTES: Final = 16  # of AES-GCM
_SEALER: Final = len(MAGIC) + KeyRequest.LAYOUT.size
_FIELDS: Final = struct.Struct("<QQ16s16s16s16s")  # counter, size, salt, mark, key check, context check
_NUMBERS: Final = _SEALER + ReportBody.LAYOUT.size
_MAC: Final = _NUMBERS + _FIELDS.size
_HEADER_END: Final = _MAC + _CHECK_BYTES
_NO_MARK: Final = bytes(_CHECK_BYTES)
_MARK_KEYID: Final = b"adyton/sealing/platform-mark/1".ljust(32, b"\0")
_SVN_CODES: Final = frozenset({32, 64})  # INVALID_CPUSVN, INVALID_ISVSVN
_NO_SUCH_KEY: Final = "platform.key"  # of a platform that gives no key without MRENCLAVE and MRSIGNER


class SealingError(PlatformError):
    """A sealed blob cannot be opened.

    Attributes:
        code: ``sealing.format``: not a blob of this format; ``sealing.truncated``; ``sealing.header``: its header was
            edited; ``sealing.other_cpu``: another CPU sealed it, or this one under another owner epoch;
            ``sealing.other_enclave``; ``sealing.debug``: sealed in debug mode and opened without, or the reverse;
            ``sealing.newer``: sealed at a newer microcode, enclave or configuration version than now;
            ``sealing.context``: it is not what the caller takes it for; ``sealing.rollback``: not the current one by
            the counter; ``sealing.corrupt``: the data is damaged; ``sealing.policy``: a policy that binds nobody.
    """

    code = "sealing.corrupt"


class RollbackCounter(Protocol):
    """A number that only grows, kept where the host cannot set it back.

    To write: ``blob = seal(…, counter=counter)``; put the blob where it survives a crash; ``counter.increment()``. From
    then on older blobs are refused. After a crash between the two, opening the new blob takes the last step. Until it
    is taken, the host may choose between the two newest blobs, and nothing older; one writer at a time.
    """

    def read(self) -> int:
        """The value, at least 0.

        Raises:
            PlatformError: the counter cannot be reached; nothing is opened without it.
        """

    def increment(self) -> int:
        """Raise the value by one, durably, and return it.

        Raises:
            PlatformError: the counter cannot be reached.
        """


@dataclass(frozen=True, slots=True)
class _Header:
    request: KeyRequest
    sealer: ReportBody
    counter: int
    size: int
    salt: bytes
    mark: bytes
    key_check: bytes
    context_check: bytes

    def to_bytes(self) -> bytes:
        """All but the MAC."""
        numbers = _FIELDS.pack(self.counter, self.size, self.salt, self.mark, self.key_check, self.context_check)
        return MAGIC + self.request.to_bytes() + self.sealer.to_bytes() + numbers


def seal(
    platform: Platform,
    plaintext: bytes,
    *,
    policy: KeyPolicy = KeyPolicy.MRENCLAVE,
    context: bytes = b"",
    counter: RollbackCounter | None = None,
) -> bytes:
    """Seal ``plaintext`` for this enclave.

    Args:
        platform: of the calling enclave.
        plaintext: what to keep.
        policy: MRENCLAVE: only this very build reads it; MRSIGNER: all of the signer's builds of this product at
            this or a higher security version do.
        context: what the blob is; must be given again to open it.
        counter: makes this blob the only one that opens, once it is incremented; must be given again to open it.

    Raises:
        SealingError: ``sealing.policy``: a policy that binds neither measurement nor signer.
        PlatformError: the platform refuses.
    """
    if not policy & (KeyPolicy.MRENCLAVE | KeyPolicy.MRSIGNER):
        raise SealingError("a sealing policy must bind MRENCLAVE or MRSIGNER", code="sealing.policy")
    sealer = platform.identity()
    request = _request(sealer, policy, os.urandom(32))
    key = platform.seal_key(request)
    salt = os.urandom(_CHECK_BYTES)
    head = _Header(
        request=request,
        sealer=sealer,
        counter=0 if counter is None else counter.read() + 1,
        size=aead.NONCE_BYTES + len(plaintext) + _TAG_BYTES,
        salt=salt,
        mark=_mark(platform, sealer, policy, salt),
        key_check=_derive(key, "key"),
        context_check=_derive(key, "context", context),
    ).to_bytes()
    head += _derive(key, "header", head)
    return head + aead.encrypt(aead.derive_key(key, "sealing/data", head), plaintext, head, context)


def unseal(platform: Platform, blob: bytes, context: bytes = b"", *, counter: RollbackCounter | None = None) -> bytes:
    """Open a blob that :func:`seal` made.

    In order: (1) the header parses and its parts agree; (2) the CPU gives the key; (3) it is the right key; (4) the
    header is authentic; (5) nothing is missing; (6) the context; (7) the counter; (8) the data.

    Raises:
        SealingError: see there; never anything but the exact plaintext is returned.
        PlatformError: the platform or the counter cannot be reached.
    """
    header = _parse(blob)  # (1)
    own = platform.identity()
    try:
        key = platform.seal_key(header.request)  # (2)
    except SgxError as error:
        raise _refused(header, own, error) from error
    if not hmac.compare_digest(header.key_check, _derive(key, "key")):  # (3)
        raise _wrong_key(platform, header, own)
    if not hmac.compare_digest(blob[_MAC:_HEADER_END], _derive(key, "header", blob[:_MAC])):  # (4)
        raise _edited("it is not the one that was sealed")
    if len(blob) - _HEADER_END < header.size:  # (5)
        raise _truncated(len(blob), _HEADER_END + header.size)
    if not hmac.compare_digest(header.context_check, _derive(key, "context", context)):  # (6)
        raise SealingError(
            "the sealed blob is not what it is taken for: it has another context", code="sealing.context"
        )
    behind = _check_counter(header.counter, counter)  # (7)
    head = blob[:_HEADER_END]
    try:
        plaintext = aead.decrypt(aead.derive_key(key, "sealing/data", head), blob[_HEADER_END:], head, context)  # (8)
    except aead.DecryptionError as error:
        raise SealingError("the sealed data is damaged") from error
    if behind is not None:
        behind.increment()  # the writer was interrupted before this last step
    return plaintext


def open_current(
    platform: Platform, blob: bytes, context: bytes = b"", *, counter: RollbackCounter | None = None
) -> tuple[bytes, bytes | None]:
    """Open a blob, and seal it again where microcode, enclave or configuration were updated since.

    Returns:
        The plaintext, and the blob to put in the old one's place (under its policy), or None where it is current.

    Raises:
        SealingError: as :func:`unseal`.
        PlatformError: the platform or the counter cannot be reached.
    """
    plaintext = unseal(platform, blob, context, counter=counter)
    if not is_stale(platform, blob):
        return plaintext, None
    policy = KeyPolicy(key_request(blob).keypolicy)
    return plaintext, seal(platform, plaintext, policy=policy, context=context, counter=counter)


def is_stale(platform: Platform, blob: bytes) -> bool:
    """Whether this enclave would now seal at other versions than ``blob`` was sealed at; proves nothing about it.

    Raises:
        SealingError: it is no blob, or its header was edited.
    """
    request = _parse(blob).request
    return request != _request(platform.identity(), KeyPolicy(request.keypolicy), request.keyid)


def key_request(blob: bytes) -> KeyRequest:
    """The KEYREQUEST that a blob says it was sealed with.

    Raises:
        SealingError: it is no blob, or its header was edited.
    """
    return _parse(blob).request


def _request(sealer: ReportBody, policy: KeyPolicy, keyid: bytes) -> KeyRequest:
    """What ``sealer`` asks the CPU for; every field but ``keyid`` follows from who it is."""
    return KeyRequest(
        KeyName.SEAL,
        keypolicy=policy,
        isvsvn=sealer.isvsvn,
        cpusvn=sealer.cpusvn,
        keyid=keyid,
        configsvn=sealer.configsvn if policy & KeyPolicy.CONFIGID else 0,
    )


def _parse(blob: bytes) -> _Header:
    if not blob.startswith(MAGIC) or len(blob) > MAX_BLOB_BYTES:
        raise SealingError("not a sealed blob of this format", code="sealing.format")
    if len(blob) < _HEADER_END:
        raise _truncated(len(blob), _HEADER_END)
    try:
        request = KeyRequest.parse(blob[len(MAGIC) : _SEALER], base=len(MAGIC))
        sealer = ReportBody.parse(blob[_SEALER:_NUMBERS], base=_SEALER)
    except FormatError as error:
        raise _edited(error.message) from error
    if request != _request(sealer, KeyPolicy(request.keypolicy), request.keyid) or any(sealer.report_data):
        raise _edited("its KEYREQUEST is not one that its sealer asks for")
    return _Header(request, sealer, *_FIELDS.unpack_from(blob, _NUMBERS))


def _derive(key: Secret[bytes], purpose: str, *context: bytes) -> bytes:
    return aead.derive_key(key, f"sealing/{purpose}", *context).reveal()[:_CHECK_BYTES]


def _mark(platform: Platform, sealer: ReportBody, policy: KeyPolicy, salt: bytes) -> bytes:
    """A name of this CPU and its owner epoch, from a seal key that is bound to neither enclave nor signer.

    It is bound to ISVPRODID (unless the policy leaves that out) and to DEBUG, as the CPU demands: it compares marks of
    one product in one mode.
    """
    request = KeyRequest(
        KeyName.SEAL,
        keypolicy=policy & KeyPolicy.NOISVPRODID,
        cpusvn=sealer.cpusvn,
        attributemask=Attributes(0, 0),
        keyid=_MARK_KEYID,
    )
    try:
        key = platform.seal_key(request)
    except SgxError:
        return _NO_MARK
    except PlatformError as error:
        if error.code != _NO_SUCH_KEY:
            raise
        return _NO_MARK
    return _derive(key, "mark", salt)


def _refused(header: _Header, own: ReportBody, error: SgxError) -> SealingError:
    if (found := _stranger(header, own)) is not None:
        return found
    if error.sgx_code in _SVN_CODES:
        return SealingError(
            f"the blob was sealed at a newer version: {error.message}",
            code="sealing.newer",
            hint="start the newer enclave or microcode that sealed it",
        )
    return _edited(f"the CPU refuses its KEYREQUEST: {error.message}")


def _wrong_key(platform: Platform, header: _Header, own: ReportBody) -> SealingError:
    if (found := _stranger(header, own)) is not None:
        return found
    here = _mark(platform, header.sealer, KeyPolicy(header.request.keypolicy), header.salt)
    if _NO_MARK not in (here, header.mark) and hmac.compare_digest(here, header.mark):
        return _edited("this enclave on this CPU sealed it, but its KEYREQUEST leads to another key")
    return SealingError(
        "the blob was sealed on another CPU, or on this one under another owner epoch",
        code="sealing.other_cpu",
        hint="open it on the machine that sealed it; nobody can move it to another one",
    )


def _stranger(header: _Header, own: ReportBody) -> SealingError | None:
    """What of the sealer's identity, as the policy binds it, is not this enclave's."""
    sealer, policy = header.sealer, KeyPolicy(header.request.keypolicy)
    if sealer.attributes.debug != own.attributes.debug:
        modes = ("debug", "production") if sealer.attributes.debug else ("production", "debug")
        return SealingError(
            f"the blob was sealed by the {modes[0]} enclave; this is the {modes[1]} one",
            code="sealing.debug",
            hint="the two never share data; start the one that sealed it",
        )
    mask = header.request.attributemask
    bound = (
        ("MRENCLAVE", policy & KeyPolicy.MRENCLAVE, sealer.mrenclave, own.mrenclave),
        ("MRSIGNER", policy & KeyPolicy.MRSIGNER, sealer.mrsigner, own.mrsigner),
        ("ISVPRODID", not policy & KeyPolicy.NOISVPRODID, sealer.isvprodid, own.isvprodid),
        ("CONFIGID", policy & KeyPolicy.CONFIGID, sealer.configid, own.configid),
        ("ISVFAMILYID", policy & KeyPolicy.ISVFAMILYID, sealer.isvfamilyid, own.isvfamilyid),
        ("ISVEXTPRODID", policy & KeyPolicy.ISVEXTPRODID, sealer.isvextprodid, own.isvextprodid),
        ("ATTRIBUTES", True, sealer.attributes.masked(mask), own.attributes.masked(mask)),
    )
    different = [name for name, counts, sealed, here in bound if counts and sealed != here]
    if not different:
        return None
    return SealingError(
        f"the blob was sealed by another enclave: {', '.join(different)} differ"
        f" (sealed by MRENCLAVE {sealer.mrenclave.hex()}, this is {own.mrenclave.hex()})",
        code="sealing.other_enclave",
        hint="open it with the enclave that sealed it",
    )


def _check_counter(sealed: int, counter: RollbackCounter | None) -> RollbackCounter | None:
    """The counter, if it is one step behind the blob and must take it once the blob has opened."""
    if counter is None:
        if sealed:
            raise _rolled_back(f"it is bound to a counter (value {sealed}), and none was given")
        return None
    if not sealed:
        raise _rolled_back("it is bound to no counter")
    value = counter.read()
    if sealed < value:
        raise _rolled_back(f"it is older (counter value {sealed}) than the newest one ({value})")
    if sealed > value + 1:
        raise _rolled_back(f"the counter ({value}) was set back, or is not the one it was sealed with ({sealed})")
    return counter if sealed > value else None


def _rolled_back(why: str) -> SealingError:
    return SealingError(
        f"the sealed blob is not the current one: {why}",
        code="sealing.rollback",
        hint="put the newest copy back; an older one does not open",
    )


def _edited(why: str) -> SealingError:
    return SealingError(
        f"the header of the sealed blob was edited: {why}",
        code="sealing.header",
        hint="restore the blob from a copy that was not changed",
    )


def _truncated(found: int, expected: int) -> SealingError:
    return SealingError(
        f"the sealed blob is cut: it has {found} of at least {expected} bytes",
        code="sealing.truncated",
        hint="restore the blob from a whole copy",
    )
