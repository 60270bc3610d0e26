"""The kinds of secrets that a session document can define: given by their owner, or made by the CAS."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints, model_validator

from adyton.cas.language.scalars import MAX_VALUE, Name, Part

KINDS: Final = frozenset({"ascii", "binary", "enclave-key", "private-key", "x509", "x509-ca"})
MAX_GIVEN_KEYS: Final = 8  # loading a 4096-bit RSA key, which is checked for primes, takes a quarter of a second
MAX_CERTIFICATES: Final = 32  # signing one with such a key takes some milliseconds
_MAX_KEY: Final = 4096  # characters: PKCS#8 PEM of a 4096-bit RSA key has 3272
_MAX_CERTIFICATE: Final = 16 << 10

CommonName = Annotated[str, StringConstraints(pattern=r"^[\x20-\x7e]{1,64}$")]
DnsName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9.*-]{1,253}$")]
Value = Annotated[str, StringConstraints(max_length=MAX_VALUE)]
KeyText = Annotated[str, StringConstraints(max_length=_MAX_KEY)]
CertificateText = Annotated[str, StringConstraints(max_length=_MAX_CERTIFICATE)]


class AsciiSecret(Part):
    """Printable text; generated: ``size`` letters and digits (5.95 bits each)."""

    name: Name
    value: Value | None = Field(default=None, repr=False)
    kind: Literal["ascii"]
    size: Annotated[int, Field(ge=8, le=4096)] = 32


class BinarySecret(Part):
    """Bytes, given as hex; generated: ``size`` random bytes."""

    name: Name
    value: Value | None = Field(default=None, repr=False)
    kind: Literal["binary"]
    size: Annotated[int, Field(ge=1, le=4096)] = 32


class PrivateKeySecret(Part):
    """A private key, given as unencrypted PEM; generated: P-256."""

    name: Name
    value: KeyText | None = Field(default=None, repr=False)
    kind: Literal["private-key"]


class EnclaveKeySecret(Part):
    """A 32-byte key of the asking enclave: every MRENCLAVE gets another one, so no session's owner can learn it.

    Nobody gives it and no other enclave can be given it, whatever the session is changed to: what an enclave keeps
    under such a key stays closed to its operator and to every other build.
    """

    name: Name
    kind: Literal["enclave-key"]


class X509CaSecret(Part):
    """A certificate authority of the session: given as PEM, or made self-signed. It issues x509 secrets that name it.

    ``private_key`` names a private-key secret; without one a key is made. Of a given certificate it must be the key;
    one that is given without its key can be injected, but issues nothing.
    """

    name: Name
    kind: Literal["x509-ca"]
    private_key: Name | None = None
    common_name: CommonName | None = None
    value: CertificateText | None = None

    @model_validator(mode="after")
    def _one_source(self) -> X509CaSecret:
        if self.value is not None and self.common_name is not None:
            raise ValueError("a given certificate says its own common_name")
        return self


class X509Secret(Part):
    """A certificate: given as PEM (its issuers may follow), or made for ``common_name`` and ``dns``.

    A made one is signed by the x509-ca that ``issuer`` names, else by itself. ``private_key`` as for x509-ca.
    """

    later = frozenset({"issuer", "value"})

    name: Name
    kind: Literal["x509"]
    private_key: Name | None = None
    common_name: CommonName | None = None
    dns: tuple[DnsName, ...] = Field(default=(), max_length=16)
    issuer: Name | None = None
    value: CertificateText | None = None

    @model_validator(mode="after")
    def _one_source(self) -> X509Secret:
        if self.value is not None and (self.common_name is not None or self.dns or self.issuer is not None):
            raise ValueError("a given certificate says its own common_name, dns and issuer")
        return self


CertificateDefinition = X509CaSecret | X509Secret
SecretDefinition = Annotated[
    AsciiSecret | BinarySecret | EnclaveKeySecret | PrivateKeySecret | X509CaSecret | X509Secret,
    Field(discriminator="kind"),
]
