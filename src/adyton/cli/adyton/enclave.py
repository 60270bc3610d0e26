"""``adyton enclave``: signing keys and measurements of enclave images."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="enclave", help="Signing keys and measurements of enclave images.")


@app.command
def new_key(
    file: Annotated[Path, Parameter(help="PEM file to write; must not exist.")],
) -> None:
    """Make a signing key for production enclaves: RSA-3072 with exponent 3, as SGX demands.

    The file is not encrypted and readable by you only. Whoever has it can sign enclaves as you: keep it offline. The
    same with OpenSSL: openssl genrsa -3 -out signer-key.pem 3072
    """
    from adyton.base.errors import InputError  # noqa: PLC0415
    from adyton.base.files import write_private  # noqa: PLC0415
    from adyton.enclave.sigstruct import new_signer_pem  # noqa: PLC0415  # heavy

    if file.exists():
        raise InputError(
            f"{file} exists", code="enclave.key.exists", hint="choose another name; keys are never replaced"
        )
    write_private(file, new_signer_pem())
    sys.stderr.write(f"wrote {file}: keep it safe, it is your identity as an enclave's signer\n")


@app.command
def hash(  # noqa: A001  # the verb's name
    layout: Annotated[Path, Parameter(help="OCI layout folder or archive with an enclave image.")],
) -> None:
    """Print the MRENCLAVE of an enclave image: the fingerprint that its app names on chain."""
    from adyton.enclave.image import EnclaveImage  # noqa: PLC0415  # heavy

    sys.stdout.write(EnclaveImage.load(layout).mrenclave.hex() + "\n")
