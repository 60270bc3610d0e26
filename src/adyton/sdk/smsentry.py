"""An SMS in ``chain.json``: its URL, and which enclave it must be before it gets a secret.

Official clients refuse every key of a chain that they do not know, so what is expected stands in the fragment of the
URL, which they leave out of every request (RFC 3986, 3.5)::

    "sms": {"scone": "http://127.0.0.1:13300#tls=https://127.0.0.1:13302&mrenclave=3f…&anchor=sim:7c…"}

============  ============================================================================  =======================
member        meaning                                                                       default
============  ============================================================================  =======================
``tls``       ``https://host:port`` where the SMS proves itself                             the URL, if it is https
``mrenclave`` accepted measurement, 64 hex digits; may be given again                      (one way to name it)
``mrsigner``  accepted signer, 64 hex digits; may be given again; needs ``product``         (the other way)
``product``   the signer's product number
``min-svn``   lowest accepted security version                                              0
``anchor``    accepted root: ``intel`` or ``sim:FINGERPRINT``; may be given again           ``intel``
``tolerate``  accepted weakness, such as ``outdated-tcb``; may be given again               none
``pccs``      certificate service of the SMS's platform                                     the SMS itself
============  ============================================================================  =======================

Anything else in a fragment is refused: what is not understood may have been meant to protect somebody.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlsplit

from adyton.sdk.errors import ConfigurationError

if TYPE_CHECKING:
    from adyton.attestation.policy import QuotePolicy

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NUMBER: Final = re.compile(r"[0-9]{1,5}")
_MEMBERS: Final = frozenset({"tls", "mrenclave", "mrsigner", "product", "min-svn", "anchor", "tolerate", "pccs"})
_ONCE: Final = ("tls", "product", "min-svn", "pccs")
_MAX_MEMBERS: Final = 64
_HINT: Final = "the chain.json of a local network has it in its right form: adyton chain-json"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpectedSms:
    """Which enclave an SMS must be.

    Attributes:
        url: ``https://…`` where it proves itself and takes secrets.
        mrenclaves, mrsigners: hex.
        product: ISVPRODID; None pins none.
        min_svn: lowest accepted ISVSVN.
        anchors: accepted roots.
        tolerate: accepted weaknesses.
        pccs: certificate service; None: the SMS hands out collateral.
    """

    url: str
    mrenclaves: tuple[str, ...] = ()
    mrsigners: tuple[str, ...] = ()
    product: int | None = None
    min_svn: int = 0
    anchors: tuple[str, ...] = ("intel",)
    tolerate: tuple[str, ...] = ()
    pccs: str | None = None

    def policy(self) -> QuotePolicy:
        """What evidence is judged by.

        Raises:
            InputError: a value that no policy can have, or nothing that names an enclave.
        """
        from adyton.attestation.anchors import TrustAnchor  # noqa: PLC0415  # only who pushes a secret needs it
        from adyton.attestation.policy import QuotePolicy, parse_tolerate  # noqa: PLC0415

        return QuotePolicy(
            anchors=tuple(TrustAnchor(name) for name in self.anchors),
            mrenclaves=frozenset(bytes.fromhex(text) for text in self.mrenclaves),
            mrsigners=frozenset(bytes.fromhex(text) for text in self.mrsigners),
            isvprodid=self.product,
            min_isvsvn=self.min_svn,
            tolerate=parse_tolerate(self.tolerate),
        )

    def describe(self) -> str:
        """Who is expected, in words."""
        named = [f"MRENCLAVE {text}" for text in self.mrenclaves] + [f"MRSIGNER {text}" for text in self.mrsigners]
        if self.product is not None:
            named.append(f"product {self.product} from version {self.min_svn} on")
        return f"{', '.join(named)}, under {' or '.join(self.anchors)}"


@dataclass(frozen=True, slots=True)
class SmsEntry:
    """An SMS as a chain names it: the URL that the official client uses, and who must be there; None: not said."""

    url: str
    expected: ExpectedSms | None

    @property
    def readable(self) -> bool:
        """Whether others on the way can read what is sent to the URL: plain HTTP, and not to this very machine."""
        parts = urlsplit(self.url)
        return parts.scheme == "http" and not _is_loopback(parts.hostname or "")


def parse_entry(text: str) -> SmsEntry:
    """Read an SMS URL of ``chain.json``.

    Raises:
        ConfigurationError: ``sdk.configuration.sms``: what its fragment says cannot be understood or names no enclave.
    """
    url, separator, fragment = text.partition("#")
    if not separator:
        return SmsEntry(text, None)
    try:
        pairs = parse_qsl(fragment, keep_blank_values=True, strict_parsing=True, max_num_fields=_MAX_MEMBERS)
    except ValueError:
        raise _error("is not name=value&name=value") from None
    members: dict[str, list[str]] = {}
    for name, value in pairs:
        members.setdefault(name, []).append(value)
    _check(members)
    tls = members.get("tls", [url.rstrip("/")])[0]
    if not tls.startswith("https://") or not _has_host(tls):
        raise _error("names no https:// address as tls, and plain HTTP proves nothing")
    return SmsEntry(
        url,
        ExpectedSms(
            url=tls,
            mrenclaves=tuple(members.get("mrenclave", ())),
            mrsigners=tuple(members.get("mrsigner", ())),
            product=int(members["product"][0]) if "product" in members else None,
            min_svn=int(members.get("min-svn", ["0"])[0]),
            anchors=tuple(members.get("anchor", ("intel",))),
            tolerate=tuple(members.get("tolerate", ())),
            pccs=members.get("pccs", [None])[0],
        ),
    )


def _check(members: dict[str, list[str]]) -> None:
    unknown = sorted(members.keys() - _MEMBERS)
    if unknown:
        raise _error(f"has unknown members: {', '.join(unknown)[:200]}")
    twice = [name for name in _ONCE if len(members.get(name, ())) > 1]
    if twice:
        raise _error(f"says {twice[0]} twice")
    for name in ("mrenclave", "mrsigner"):
        if not all(_HASH.fullmatch(value) for value in members.get(name, ())):
            raise _error(f"has a {name} that is not 64 lowercase hex digits")
    for name in ("product", "min-svn"):
        if not all(_NUMBER.fullmatch(value) for value in members.get(name, ())):
            raise _error(f"has a {name} that is no number")
    if "mrenclave" not in members and not {"mrsigner", "product"} <= members.keys():
        raise _error("names no enclave: neither mrenclave, nor mrsigner and product")


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # half an IPv6 address, a port out of range
        return False


def _is_loopback(host: str) -> bool:
    import ipaddress  # noqa: PLC0415  # chain.json is read by commands that push nothing

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _error(problem: str) -> ConfigurationError:
    return ConfigurationError(
        f"the fragment of the SMS's URL in chain.json {problem}", code="sdk.configuration.sms", hint=_HINT
    )
