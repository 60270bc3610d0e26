"""``adyton image``: build and push application images without a Docker daemon."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import App, Parameter

app = App(name="image", help="Build and push application images without a Docker daemon.")


@app.command
def build(
    source: Annotated[Path, Parameter(help="Folder with the application's files; it becomes /app.")],
    target: Annotated[Path, Parameter(help="OCI layout folder to write; must not exist.")],
    *,
    command: Annotated[str, Parameter(help="What the image runs.")] = "python3 /app/app.py",
    package: Annotated[
        list[str] | None,
        Parameter(help="An installed Python distribution the application needs; may be given again.", negative=()),
    ] = None,
) -> None:
    """Make an image of a Python application: this machine's Python, the packages it needs, and its folder.

    The same inputs make the same image, byte for byte. Turn it into an enclave with sconify_iexec.
    """
    from adyton.enclave.native import build_image  # noqa: PLC0415  # heavy

    digest = build_image(source, target, command=command, distributions=package or [])
    sys.stderr.write(f"image {target}\n")
    sys.stdout.write(f"{digest}\n")


@app.command
def push(
    layout: Annotated[Path, Parameter(help="OCI layout folder or archive.")],
    reference: Annotated[str, Parameter(help="host:port/name:tag of a registry, for example the local network's.")],
) -> None:
    """Put an image into a registry and print its digest, the checksum that an app on chain names."""
    from adyton.content.reference import ImageReference  # noqa: PLC0415  # heavy
    from adyton.content.registry import RegistryClient  # noqa: PLC0415

    client = RegistryClient()
    try:
        digest = client.push(layout, ImageReference.parse(reference))
    finally:
        client.close()
    sys.stderr.write(f"pushed {reference}\n")
    sys.stdout.write(f"{digest}\n")
