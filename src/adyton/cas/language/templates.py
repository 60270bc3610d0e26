"""Templates: a service's command, environment and files, with secrets of the session in place of their names.

A template names a secret as ``$$SCONE::name$$`` or ``$$SCONE::name:format$$``. Formats by kind (the first is the
default):

=============  ===================================  ================================================================
kind           formats                              meaning
=============  ===================================  ================================================================
ascii          text, hex, base64                    the text; its bytes in hex or base64
binary         raw, hex, base64                     the bytes themselves (injected files only), or encoded
enclave-key    raw, hex, base64                     32 bytes that only the asking enclave's MRENCLAVE gets
private-key    pem, privatekey, der, hex            PKCS#8 PEM (both); PKCS#8 DER (files only), or that in hex
x509, x509-ca  crt, chain, privatekey, pem, der     certificate PEM; it and its issuers; its key; certificate and
                                                    key; certificate DER (files only)
=============  ===================================  ================================================================

What is put in is not searched again, so a secret's value cannot name another secret.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from typing import Final

from adyton.cas.language.certificates import certificate_der, key_der
from adyton.cas.language.secretkinds import SecretDefinition, X509CaSecret, X509Secret
from adyton.cas.language.session import Service, Session, SessionError
from adyton.cas.releasing.material import Material, SecretValue, enclave_keys

MAX_PART_BYTES: Final = 2 << 20
"""How large a service's part may be once its secrets are in place: a template of 12 characters can name 64 kB."""

_MARK: Final = "$$SCONE::"
_TEMPLATE: Final = re.compile(r"\$\$SCONE::([A-Za-z0-9][A-Za-z0-9._-]{0,127})(?::([a-z0-9]{1,16}))?\$\$")
_CERTIFICATE: Final = ("crt", "chain", "privatekey", "pem", "der")
_FORMATS: Final[Mapping[str, tuple[str, ...]]] = {
    "ascii": ("text", "hex", "base64"),
    "binary": ("raw", "hex", "base64"),
    "enclave-key": ("raw", "hex", "base64"),
    "private-key": ("pem", "privatekey", "der", "hex"),
    "x509": _CERTIFICATE,
    "x509-ca": _CERTIFICATE,
}
_WITHOUT_KEY: Final = ("crt", "chain", "der")
_BYTES: Final = frozenset({"raw", "der"})
_PROBE: Final = bytes(32)  # all enclave-keys have one length


def check_templates(session: Session) -> None:
    """Check that every template names secrets of the session in formats that fit their kind and place.

    Raises:
        SessionError: with the path of the template.
    """
    formats = {definition.name: (definition.kind, _formats_of(definition)) for definition in session.secrets}
    for index, service in enumerate(session.services):
        for place, template in _texts(service):
            _check(f"services[{index}].{place}", template, formats, as_text=True)
    for index, image in enumerate(session.images):
        for number, file in enumerate(image.injection_files):
            _check(f"images[{index}].injection_files[{number}].content", file.content, formats, as_text=False)


def check_size(session: Session, material: Material) -> None:
    """Check that no service's part exceeds :data:`MAX_PART_BYTES` with its secrets in place.

    Raises:
        SessionError: with the path of the service.
    """
    lengths: dict[tuple[str, str | None], int] = {}

    def length(template: str) -> int:
        total = len(template.encode())
        for match in _TEMPLATE.finditer(template):
            named = (match[1], match[2])
            if named not in lengths:
                lengths[named] = len(_render(material.secrets[match[1]], match[2], match[1], _PROBE))
            total += lengths[named]
        return total

    for index, service in enumerate(session.services):
        image = session.image_of(service)
        files = [file.content for file in image.injection_files] if image else []
        size = sum(map(length, (*(template for _, template in _texts(service)), *files)))
        if size > MAX_PART_BYTES:
            raise SessionError(
                f"services[{index}]", f"its part has {size} bytes with its secrets in place; at most {MAX_PART_BYTES}"
            )


def fill(template: str, material: Material, mrenclave: bytes) -> bytes:
    """The template with its secrets in place, for the enclave that was measured as ``mrenclave``.

    Templates were checked when the session was stored.
    """
    parts: list[bytes] = []
    end = 0
    for match in _TEMPLATE.finditer(template):
        value = _render(material.secrets[match[1]], match[2], match[1], mrenclave)
        parts += [template[end : match.start()].encode(), value]
        end = match.end()
    return b"".join([*parts, template[end:].encode()])


def fill_text(template: str, material: Material, mrenclave: bytes) -> str:
    """:func:`fill` where only text is possible; raw bytes were refused by :func:`check_templates`."""
    return fill(template, material, mrenclave).decode()


def is_enclave_bound(template: str, material: Material) -> bool:
    """Whether the template is one enclave-key and nothing else: a value that its session's owner cannot know."""
    match = _TEMPLATE.fullmatch(template)
    return match is not None and material.secrets[match[1]].kind == "enclave-key"


def names_in_part(session: Session, service: Service) -> frozenset[str]:
    """The secrets that the service's part names."""
    image = session.image_of(service)
    files = [file.content for file in image.injection_files] if image else []
    texts = [template for _, template in _texts(service)]
    return frozenset(match[1] for template in (*texts, *files) for match in _TEMPLATE.finditer(template))


def _texts(service: Service) -> list[tuple[str, str]]:
    values = ((f"environment.{name}", value or "") for name, value in service.environment.items())
    return [("command", service.command), *values]


def _formats_of(definition: SecretDefinition) -> tuple[str, ...]:
    given = isinstance(definition, X509CaSecret | X509Secret) and definition.value is not None
    if given and isinstance(definition, X509CaSecret | X509Secret) and definition.private_key is None:
        return _WITHOUT_KEY
    return _FORMATS[definition.kind]


def _check(path: str, template: str, known: Mapping[str, tuple[str, tuple[str, ...]]], *, as_text: bool) -> None:
    matches = list(_TEMPLATE.finditer(template))
    if template.count(_MARK) != len(matches):
        raise SessionError(path, "holds '$$SCONE::' that is not of the form $$SCONE::name$$ or $$SCONE::name:format$$")
    for match in matches:
        name, form = match[1], match[2]
        if name not in known:
            raise SessionError(path, f"no secret is named {name!r}")
        kind, formats = known[name]
        if form is not None and form not in formats:
            raise SessionError(
                path, f"the secret {name!r}, {kind}, has no format {form!r}; it has {', '.join(formats)}"
            )
        if as_text and (form or formats[0]) in _BYTES:
            others = ", ".join(text for text in formats if text not in _BYTES)
            raise SessionError(path, f"raw bytes of {name!r} cannot stand in text; its other formats are {others}")


_ENCODERS: Final[Mapping[str, Callable[[SecretValue, bytes], bytes]]] = {
    "hex": lambda item, value: (key_der(value) if item.kind == "private-key" else value).hex().encode(),
    "base64": lambda _item, value: base64.b64encode(value),
    "crt": lambda item, _value: item.certificate,
    "chain": lambda item, _value: item.certificate + item.issuers,
    "pem": lambda item, value: item.certificate + value,  # a private key has no certificate: the key alone
    "der": lambda item, value: certificate_der(item.certificate) if item.certificate else key_der(value),
    "text": lambda _item, value: value,
    "raw": lambda _item, value: value,
    "privatekey": lambda _item, value: value,
}


def _render(item: SecretValue, form: str | None, name: str, mrenclave: bytes) -> bytes:
    value = item.value.reveal()
    if item.kind == "enclave-key":
        value = enclave_keys(name, item).ring(mrenclave).key.reveal()
    return _ENCODERS[form or _FORMATS[item.kind][0]](item, value)
