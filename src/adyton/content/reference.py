"""Names of images: ``registry/repository:tag@digest`` with Docker's defaults for what is left out.

Grammar: https://github.com/distribution/reference (the names that Docker, podman and Kubernetes accept).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from adyton.base.errors import InputError

DEFAULT_REGISTRY = "docker.io"
DEFAULT_TAG = "latest"
_MAX_NAME = 255
_HOST = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?)*|\[[0-9a-fA-F:.]+\])"
    r"(?::[0-9]{1,5})?"
)
_PART = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
REPOSITORY = re.compile(rf"{_PART}(?:/{_PART})*")
TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ImageReference:
    """One image in one registry.

    Attributes:
        registry: host and port; ``docker.io`` when none was written.
        repository: path in the registry; official Docker images have their ``library/`` written out.
        tag: name of a version; empty when only the digest was written.
        digest: ``sha256:…`` of the manifest, empty when none was written; when given it decides, not the tag.
    """

    registry: str
    repository: str
    tag: str = ""
    digest: str = ""

    @classmethod
    def parse(cls, text: str) -> ImageReference:
        """Read an image name.

        Raises:
            InputError: not an image name; the message has it.
        """
        rest, _, digest = text.partition("@")
        if (digest and not _DIGEST.fullmatch(digest)) or text.endswith("@"):
            raise _refused(text)
        head, slash, tail = rest.partition("/")
        if slash and (head == "localhost" or any(mark in head for mark in ".:[") or head != head.lower()):
            registry, rest = head, tail
        else:
            registry = DEFAULT_REGISTRY
        repository, colon, tag = rest.partition(":")
        if registry in {DEFAULT_REGISTRY, "index.docker.io"}:
            registry = DEFAULT_REGISTRY
            if "/" not in repository:
                repository = "library/" + repository
        if colon and not TAG.fullmatch(tag):
            raise _refused(text)
        if not _HOST.fullmatch(registry) or not REPOSITORY.fullmatch(repository) or len(repository) > _MAX_NAME:
            raise _refused(text)
        return cls(registry, repository, tag or ("" if digest else DEFAULT_TAG), digest)

    @property
    def is_loopback(self) -> bool:
        """Whether the registry is on this machine, the only place that is spoken to without TLS."""
        host = self.registry.rsplit(":", 1)[0] if self.registry.rpartition(":")[2].isdigit() else self.registry
        try:
            return ipaddress.ip_address(host.strip("[]")).is_loopback
        except ValueError:
            return host == "localhost"

    @property
    def target(self) -> str:
        """What to ask the registry for: the digest when known, else the tag."""
        return self.digest or self.tag

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


def _refused(text: str) -> InputError:
    return InputError(
        f"{text!r} is not an image name",
        code="content.reference",
        hint="write registry/repository:tag, for example 127.0.0.1:13200/demo/hello:1.0.0",
    )
