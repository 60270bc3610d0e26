"""``adyton enclave``: signing keys, signatures and measurements of enclave images."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

if TYPE_CHECKING:
    from adyton.content.oci import Image

app = App(name="enclave", help="Signing keys and measurements of enclave images.")

_IMAGE_HELP = "Enclave image: OCI layout folder or archive, PATH or oci:PATH[:TAG]."
_OUT_HELP = "OCI layout to write, PATH or oci:PATH[:TAG]. Default: IMAGE itself."
ImageName = Annotated[str, Parameter(help=_IMAGE_HELP)]
PassphraseFile = Annotated[
    Path | None,
    Parameter(help="Private file with the key's passphrase; /dev/fd/N reads a descriptor. Default: ask on a terminal."),
]
Json = Annotated[bool, Parameter(name="--json", help="Print one JSON document.", negative=())]


@app.command
def new_key(
    file: Annotated[Path, Parameter(help="PEM file to write; must not exist.")],
    *,
    encrypt: Annotated[bool, Parameter(help="Protect the key with a passphrase, asked twice.", negative=())] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Make a signing key for production enclaves: RSA-3072 with exponent 3, as SGX demands.

    The file is readable by you only. Whoever has it can sign enclaves as you: keep it offline, and encrypt it with
    --encrypt. The same with OpenSSL, without and with a passphrase:

        openssl genrsa -3 -out signer-key.pem 3072

        openssl genrsa -3 -aes256 -out signer-key.pem 3072
    """
    from adyton.cli.signing import make_key_file, new_passphrase  # noqa: PLC0415
    from adyton.enclave.sigstruct import new_signer_pem  # noqa: PLC0415  # heavy

    with make_key_file(file) as stream:
        passphrase = new_passphrase(passphrase_file) if encrypt or passphrase_file is not None else None
        stream.write(new_signer_pem(passphrase))
    how = "encrypted" if passphrase else "not encrypted"
    sys.stderr.write(f"wrote {file} ({how}): keep it safe, it is your identity as an enclave's signer\n")


@app.command
def sign(
    image: ImageName,
    *,
    key: Annotated[Path, Parameter(help="Signer key: RSA-3072 with exponent 3, PEM; encrypted or not.")],
    out: Annotated[str, Parameter(help=_OUT_HELP, show_default=False)] = "",
    isvprodid: Annotated[int | None, Parameter(help="Product number, 0 to 65535; measured. Default: IMAGE's.")] = None,
    isvsvn: Annotated[int | None, Parameter(help="Security version, 0 to 65535; measured. Default: IMAGE's.")] = None,
    debug: Annotated[
        bool | None,
        Parameter(help="Demand a debug or a production enclave; measured. Default: IMAGE's.", negative="--production"),
    ] = None,
    date: Annotated[
        str,
        Parameter(
            help="Day in the signature, YYYY-MM-DD. Default: SOURCE_DATE_EPOCH, else today, UTC.", show_default=False
        ),
    ] = "",
    remeasure: Annotated[
        bool, Parameter(help="Change what is measured as the options say; MRENCLAVE changes.", negative=())
    ] = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Sign an enclave image, or sign it again with another key.

    Only the signature (SIGSTRUCT) is replaced: MRENCLAVE, the fingerprint that an app names on chain, stays. Before
    signing, every file of the image is checked against the measured manifest. So a build machine can make the image
    with a key of no importance, and the owner of the real key signs it elsewhere:

        sconify_iexec --from native --to app --name app --scone-signer ci-key.pem

        adyton enclave sign app --key signer-key.pem --production

    Whether it is a debug enclave, its product number and its version are measured. If the image says otherwise than
    --production, --debug, --isvprodid or --isvsvn, it is not signed: build it again with sconify_iexec, or say
    --remeasure, which prints the old and the new MRENCLAVE. The same image, key and day give the same bytes.
    """
    from adyton.base.errors import InputError  # noqa: PLC0415
    from adyton.cli.adyton.enclave_text import DEBUG_BANNER  # noqa: PLC0415  # this and the following are heavy
    from adyton.cli.sconify import parse_image_name  # noqa: PLC0415
    from adyton.cli.signing import open_signer, signing_date  # noqa: PLC0415
    from adyton.content.oci import write_image  # noqa: PLC0415
    from adyton.enclave.resign import SignOptions, sign_image, store_in_place  # noqa: PLC0415

    source, opened = _open(image)
    options = SignOptions(
        signed_on=signing_date(date), debug=debug, isvprodid=isvprodid, isvsvn=isvsvn, remeasure=remeasure
    )
    signed = sign_image(opened, open_signer(key, passphrase_file), options)
    if out:
        target, ref = parse_image_name(out)
        if target.resolve() == source.resolve():
            raise InputError(
                "--out names IMAGE itself", code="signing.out", hint="leave --out out: IMAGE is then replaced"
            )
        write_image(signed.image, target, ref)
    else:
        target = source
        store_in_place(source, opened, signed.image)
    enclave, before = signed.enclave, signed.before
    if enclave.manifest.debug:
        sys.stderr.write(DEBUG_BANNER)
    if enclave.mrenclave != before.mrenclave:
        sys.stderr.write(f"MRENCLAVE changed: it was {before.mrenclave.hex()}\n")
    kind = "debug" if enclave.manifest.debug else "production"
    sys.stdout.write(f"image      {target} ({kind})\ndigest     {enclave.digest}\n")
    sys.stdout.write(f"mrenclave  {enclave.mrenclave.hex()}\nmrsigner   {enclave.sigstruct.mrsigner.hex()}\n")


@app.command
def inspect(
    image: ImageName,
    *,
    files: Annotated[bool, Parameter(help="List every measured file and link.", negative=())] = False,
    as_json: Json = False,
) -> int:
    """Show everything that is measured of an enclave image, who signed it, and what is not measured.

    The image is unpacked and judged as a platform would at its start: signature, signed measurement, attributes, and
    every file against the manifest. Exit status 0 when all of it holds, 1 when something does not.
    """
    from adyton.cli.adyton.enclave_text import description_text  # noqa: PLC0415
    from adyton.enclave.description import describe, file_values  # noqa: PLC0415  # heavy
    from adyton.enclave.image import EnclaveImage, read_files  # noqa: PLC0415

    _source, opened = _open(image)
    enclave = EnclaveImage.of(opened)
    document = describe(enclave, read_files(opened))
    if files:
        document["measured"]["files"]["list"] = file_values(enclave.manifest.trusted_files)
    sys.stdout.write(_json(document) if as_json else description_text(image, document))
    return 0 if document["holds"] else 1


@app.command
def diff(
    first: ImageName,
    second: ImageName,
    *,
    show_all: Annotated[
        bool, Parameter(name="--all", help="List all files that differ, not only the first 20.", negative=())
    ] = False,
    as_json: Json = False,
) -> int:
    """Say which file or setting makes two enclave images measure differently.

    Compared are the measured manifests, with the hash of every file. What follows from them in the enclave's layout,
    and differences of the signature, which MRENCLAVE does not cover, are listed apart. Exit status 0 when the
    measurement is the same, 1 when it is another, 2 when that cannot be told.
    """
    from adyton.base.errors import AdytonError  # noqa: PLC0415
    from adyton.cli.adyton.enclave_text import FIRST_FILES, difference_text  # noqa: PLC0415
    from adyton.cli.refusal import show_refusal  # noqa: PLC0415
    from adyton.enclave.difference import compare_images  # noqa: PLC0415  # heavy
    from adyton.enclave.image import EnclaveImage  # noqa: PLC0415

    try:
        one, two = (EnclaveImage.of(_open(name)[1]) for name in (first, second))
    except AdytonError as error:  # 1 already means that they differ
        show_refusal("adyton", error)
        return 2
    difference = compare_images(one, two)
    if as_json:
        sys.stdout.write(_json(difference.to_json()))
    else:
        sys.stdout.write(difference_text(first, second, difference, None if show_all else FIRST_FILES))
    return 0 if difference.same else 1


@app.command
def hash(  # noqa: A001  # the verb's name
    layout: ImageName,
) -> None:
    """Print the MRENCLAVE of an enclave image and nothing else: the fingerprint that its app names on chain.

    This is what running an image with SCONE_HASH=1 prints elsewhere: 64 hexadecimal digits, without 0x. It is computed
    from the measured manifest; 'adyton enclave inspect' also checks that the image's files are the manifest's.
    """
    from adyton.enclave.image import EnclaveImage  # noqa: PLC0415  # heavy

    enclave = EnclaveImage.of(_open(layout)[1])
    if enclave.manifest.debug:
        sys.stderr.write("warning: this is a DEBUG enclave, its host can read everything in it\n")
    sys.stdout.write(enclave.mrenclave.hex() + "\n")


def _open(name: str) -> tuple[Path, Image]:
    from adyton.cli.sconify import parse_image_name  # noqa: PLC0415
    from adyton.content.oci import read_layout  # noqa: PLC0415  # heavy

    path, ref = parse_image_name(name)
    return path, read_layout(path, ref)


def _json(document: object) -> str:
    return json.dumps(document, indent=2) + "\n"  # in ASCII: file names of strangers steer no terminal
