"""``sconify_iexec``: from a native image to an enclave image, with the options of the original tool.

Standard output has the measurement, standard error has everything else. With ``SCONE_HASH=1`` in the environment or
``--hash``, standard output is the 64 hex digits of MRENCLAVE and nothing more. Exit status: 0 done, 1 refused, 2 usage,
130 interrupted.

The same image, options, key and day give the same enclave image byte for byte; a debug enclave has a throw-away key, so
there only MRENCLAVE is the same.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from adyton.base.errors import AdytonError, InputError
from adyton.cli.refusal import show_refusal

if TYPE_CHECKING:
    from adyton.enclave.sconify import SconeImage, SconifyOptions

_SIZE = re.compile(r"(?P<number>[0-9]{1,12})(?P<unit>[KMG]?)B?", re.IGNORECASE)
_UNITS: Final = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_DEBUG_WARNING: Final = """\
*********************************************************************
* DEBUG ENCLAVE: its host can read everything in it.                *
* Only services that tolerate debug-mode will give it secrets.      *
* For production, make a key once and sign with it:                 *
*     openssl genrsa -3 -out signer-key.pem 3072                    *
*     sconify_iexec ... --scone-signer=signer-key.pem               *
*********************************************************************
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        image = _run(options)
    except AdytonError as error:
        show_refusal("sconify_iexec", error)
        return 1
    except KeyboardInterrupt:  # most likely at the question for a passphrase
        return 130
    _report(image, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="sconify_iexec",
        description="Make an enclave image of a native image.",
        epilog="Images are OCI layout folders or archives: PATH, or oci:PATH[:TAG].",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--name", required=True, help="name of the enclave")
    add("--from", required=True, dest="source", metavar="IMAGE", help="native image")
    add("--to", required=True, metavar="IMAGE", help="enclave image to write")
    add("--command", default="", metavar="TEXT", help="command of the enclave (default: the image's)")
    add("--heap", default="1G", metavar="SIZE", help="heap; must equal heapSize on chain (default: 1G)")
    add("--stack", default="8M", metavar="SIZE", help="stack of each thread (default: 8M)")
    add("--binary", default="", metavar="PATH", help="program that must exist in the image")
    add("--fs-dir", default="", metavar="PATH", help="folder that must exist in the image; all files are measured")
    add("--host-path", action="append", default=[], metavar="PATH", help="path where the host may mount its own file")
    add("--host-env", action="append", default=[], metavar="NAME", help="variable the host may set")
    add("--env", action="append", default=[], metavar="NAME=VALUE", help="variable, measured")
    add("--volume", action="append", metavar="NAME:PATH", help="protected volume (default: iexec_in, iexec_out)")
    add("--network", action="store_true", help="let the enclave use the host's network")
    add("--scone-signer", type=Path, metavar="PEM", help="RSA-3072 key, e=3: makes a production enclave")
    add("--passphrase-file", type=Path, metavar="FILE", help="its passphrase; /dev/fd/N is a descriptor (default: ask)")
    add("--date", default="", metavar="DAY", help="day in the signature (default: SOURCE_DATE_EPOCH, else today, UTC)")
    add("--isvprodid", type=int, default=0, metavar="N", help="product number, 0 to 65535 (default: 0)")
    add("--isvsvn", type=int, default=0, metavar="N", help="security version, 0 to 65535 (default: 0)")
    add("--no-cas", action="store_true", help="configured by nobody: the command runs as it is in the image")
    add("--hash", action="store_true", help="print only the MRENCLAVE, as with SCONE_HASH=1")
    add("--no-color", action="store_true", help="accepted; output has no colours")
    add("--verbose", action="store_true", help="say more on standard error")
    ignored = parser.add_argument_group(
        "accepted for compatibility, without effect here: every file is measured anyway"
    )
    add = ignored.add_argument
    add("--binary-fs", action="store_true", help="measure the file system")
    add("--dlopen", default="1", metavar="0|1", help="loading libraries at run time")
    add("--mprotect", default="1", metavar="0|1", help="changing page permissions at run time")
    for name in ("--base", "--cli", "--crosscompiler"):
        add(name, default="", metavar="TEXT", help="an image or tool of the original")
    return parser


def _run(options: argparse.Namespace) -> SconeImage:
    from adyton.enclave.sconify import sconify  # noqa: PLC0415  # keeps --help quick

    source, ref = parse_image_name(options.source)
    target, out_ref = parse_image_name(options.to)
    return sconify(source, target, _options(options), ref=ref, out_ref=out_ref)


def _options(options: argparse.Namespace) -> SconifyOptions:
    from adyton.cli.signing import open_signer, signing_date  # noqa: PLC0415
    from adyton.enclave.sconify import TASK_VOLUMES, SconifyOptions  # noqa: PLC0415

    signer = None
    if options.scone_signer is not None:
        signer = open_signer(options.scone_signer, options.passphrase_file)
    elif options.passphrase_file is not None:
        raise InputError("--passphrase-file is for the key of --scone-signer, which is missing", code="sconify.signer")
    volumes = TASK_VOLUMES if options.volume is None else _pairs(options.volume, ":", "--volume")
    return SconifyOptions(
        name=options.name,
        command=options.command,
        binary=options.binary,
        fs_dir=options.fs_dir,
        environment=_pairs(options.env, "=", "--env"),
        host_environment=tuple(options.host_env),
        host_paths=tuple(options.host_path),
        volumes={} if options.no_cas else volumes,
        network=options.network,
        heap_bytes=parse_size(options.heap, "--heap"),
        stack_bytes=parse_size(options.stack, "--stack"),
        isvprodid=options.isvprodid,
        isvsvn=options.isvsvn,
        config="none" if options.no_cas else "cas",
        signer=signer,
        signed_on=signing_date(options.date),
    )


def parse_image_name(text: str) -> tuple[Path, str]:
    """Split ``PATH`` or ``oci:PATH[:TAG]`` into the layout's path and the image's name in it.

    Raises:
        InputError: nothing is named.
    """
    path, ref = text, ""
    if text.startswith("oci:"):
        path, colon, tag = text.removeprefix("oci:").rpartition(":")
        path, ref = (path, tag) if colon and "/" not in tag else (text.removeprefix("oci:"), "")
    if not path:
        raise InputError(f"{text!r} names no image", code="sconify.image")
    return Path(path), ref


def parse_size(text: str, option: str) -> int:
    """Read ``1G``, ``8M``, ``64K`` or a number of bytes.

    Raises:
        InputError: another form.
    """
    match = _SIZE.fullmatch(text)
    if match is None:
        raise InputError(f"{option}={text} is no size", code="sconify.size", hint=f"write for example {option}=1G")
    return int(match["number"]) * _UNITS[match["unit"].upper()]


def _pairs(texts: Sequence[str], separator: str, option: str) -> Mapping[str, str]:
    pairs: dict[str, str] = {}
    for text in texts:
        name, found, value = text.partition(separator)
        if not name or not found or name in pairs:
            raise InputError(f"{option}={text} is not one NAME{separator}VALUE", code="sconify.pair")
        pairs[name] = value
    return pairs


def _report(image: SconeImage, options: argparse.Namespace) -> None:
    if image.debug:
        sys.stderr.write(_DEBUG_WARNING)
    if options.hash or os.environ.get("SCONE_HASH") == "1":
        sys.stdout.write(f"{image.mrenclave}\n")
        return
    kind = "debug" if image.debug else "production"
    sys.stdout.write(f"image      {options.to} ({kind})\ndigest     {image.digest}\n")
    sys.stdout.write(f"mrenclave  {image.mrenclave}\nmrsigner   {image.mrsigner}\n")


if __name__ == "__main__":
    sys.exit(main())
