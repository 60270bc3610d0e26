"""What can be wrong with an enclave image, before any platform sees it."""

from __future__ import annotations

from adyton.base.errors import AdytonError


class ManifestError(AdytonError):
    """The manifest is not one this version understands, or not in its canonical form."""

    code = "enclave.manifest.invalid"
    hint = "build the image again with sconify_iexec"


class TrustedFileError(AdytonError):
    """The root file system is not the one its manifest lists."""

    code = "enclave.trusted_file"
    hint = "the image was changed after it was built: fetch it again, or build it again with sconify_iexec"


class SigStructError(AdytonError):
    """The enclave signature structure is malformed or its signature does not hold."""

    code = "enclave.sigstruct.invalid"
    hint = "sign the image again: adyton enclave sign IMAGE --key signer-key.pem"


class SignerKeyError(AdytonError):
    """The file given as signer key is not one RSA-3072 key with exponent 3, or does not open."""

    code = "enclave.signer.key"
    hint = (
        "make one with: openssl genrsa -3 -out signer-key.pem 3072"
        " (with a passphrase: openssl genrsa -3 -aes256 -out signer-key.pem 3072)"
    )


class BuildError(AdytonError):
    """An image cannot be built from what was given."""

    code = "enclave.build"
