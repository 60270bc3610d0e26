"""File names are bytes to the system and UTF-8 text in archives and manifests; what is in between must not matter."""

from __future__ import annotations

import sys

from adyton.enclave.errors import BuildError


def require_utf8_names() -> None:
    """Refuse to build where this process would read file names in another encoding than UTF-8.

    Python takes the locale's (https://docs.python.org/3/glossary.html#term-filesystem-encoding-and-error-handler):
    under a Latin-1 locale the same file would get another name in the image, and the image another measurement.

    Raises:
        BuildError: it would.
    """
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise BuildError(
            f"the locale reads file names as {encoding}, images hold them as UTF-8",
            code="enclave.build.locale",
            hint="run it again with PYTHONUTF8=1 in the environment",
        )
