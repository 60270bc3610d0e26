"""Pulling and pushing images from and to registries (OCI distribution spec 1.1).

Every blob is streamed to disk and verified against the digest that named it; a registry is trusted for nothing but
what a tag means. Plain HTTP is used for registries on this machine only. Uses ``httpx2`` directly and not
``web.client``, because downloads stream and may be redirected to another host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from adyton.base.errors import AdytonError, InputError, NotFoundError, UnavailableError
from adyton.content.blob import CHUNK_BYTES, Blob, sha256_digest
from adyton.content.errors import DigestError, LimitError
from adyton.content.image import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT_BYTES,
    choose_manifest,
    parse_descriptor,
    parse_document,
    parse_image,
)
from adyton.content.oci import blob_path, read_layout, write_image
from adyton.content.reference import DEFAULT_REGISTRY, ImageReference

_DOCKER_HUB = "registry-1.docker.io"  # where the names of docker.io are served
_MAX_TOKEN_BYTES = 64 << 10
_MAX_REDIRECTS = 5
_MAX_INDEX_DEPTH = 3
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')


class RegistryError(AdytonError):
    """The registry refused or answered against the specification."""

    code = "content.registry.refused"


class ImageNotFoundError(NotFoundError):
    """The registry has no such image."""

    code = "content.registry.not_found"


class RegistryClient:
    """Pulls and pushes images, anonymously.

    Args:
        timeout_s: seconds for connect and for each read.
        max_image_bytes: refuse images whose blobs are larger together.
    """

    def __init__(self, *, timeout_s: float = 30, max_image_bytes: int = 8 << 30) -> None:
        headers = {"Accept-Encoding": "identity"}  # digests are of the bytes as they travel
        self._local = httpx2.Client(timeout=timeout_s, headers=headers, trust_env=False)  # never through a proxy
        self._remote = httpx2.Client(timeout=timeout_s, headers=headers, trust_env=True)
        self._max_image_bytes = max_image_bytes

    def close(self) -> None:
        """Release the connections."""
        self._local.close()
        self._remote.close()

    def resolve(self, reference: ImageReference) -> str:
        """The digest that ``reference`` means now: of the image's manifest for linux/amd64.

        Raises:
            ImageNotFoundError: no such image.
            RegistryError: refused, or an answer against the specification.
            UnavailableError: no connection.
            ContentError: neither a manifest nor an index with one that fits.
        """
        return sha256_digest(self._manifest(_Repository.of(reference), reference)[0])

    def pull(
        self, reference: ImageReference, layout: Path, kept: Callable[[str], Path | None] = lambda _digest: None
    ) -> str:
        """Download an image into the layout folder ``layout`` and return its manifest's digest.

        Blobs that the layout has already, undamaged, are not downloaded again. An index is followed to its manifest
        for linux/amd64; a digest in ``reference`` may name either.

        Args:
            reference: what to pull.
            layout: folder; made when missing.
            kept: where blob files of other layouts are, by digest; an undamaged one is shared or copied in place of a
                download.

        Raises:
            ImageNotFoundError: no such image.
            DigestError: the registry sent other bytes than were named.
            LimitError: the image is too large.
            RegistryError: refused, or an answer against the specification.
            UnavailableError: no connection.
            ContentError: not an image that is supported.
        """
        repository = _Repository.of(reference)
        manifest, media_type = self._manifest(repository, reference)
        left = self._max_image_bytes

        def fetch(entry: object) -> Blob:
            nonlocal left
            digest, size = parse_descriptor(entry)
            left -= size
            if left < 0:
                raise LimitError(f"{reference} has more than {self._max_image_bytes} bytes")
            target = blob_path(layout, digest)
            found = kept(digest)
            if found is not None and not target.exists():
                _share(found, target)
            return self._fetch_blob(repository, digest, size, target)

        return write_image(parse_image(manifest, media_type, fetch), layout, reference.tag)

    def push(self, layout: Path, reference: ImageReference) -> str:
        """Upload the image in ``layout`` (folder or archive) under ``reference`` and return its digest.

        Raises:
            InputError: the reference names another digest.
            DigestError: a blob of the layout is damaged.
            RegistryError: refused, or the registry stored something else.
            UnavailableError: no connection.
            ContentError: not a layout.
        """
        image = read_layout(layout)
        if reference.digest not in {"", image.digest}:
            raise InputError(
                f"the image to push is {image.digest}, not {reference.digest}", code="content.registry.other"
            )
        repository = _Repository.of(reference)
        for blob in image.blobs:
            self._push_blob(repository, blob)
        url = repository.url(f"manifests/{reference.tag or image.digest}")
        headers = {"Content-Type": image.manifest_type}
        with self._send(repository, "PUT", url, headers=headers, content=image.manifest) as answer:
            stored = answer.headers.get("Docker-Content-Digest", image.digest)
        if stored != image.digest:
            raise RegistryError(f"{reference.registry} stored {stored} in place of {image.digest}")
        return image.digest

    def _manifest(self, repository: _Repository, reference: ImageReference) -> tuple[bytes, str]:
        """Manifest bytes and media type of ``reference``, an index followed and every digest checked."""
        data, media_type = self._document(repository, reference.target)
        for _ in range(_MAX_INDEX_DEPTH):
            if media_type in MANIFEST_TYPES:
                return data, media_type
            if media_type not in INDEX_TYPES:
                break
            chosen = choose_manifest(parse_document(data, "index").get("manifests"))
            data, media_type = self._document(repository, parse_descriptor(chosen)[0])
        raise RegistryError(f"{reference} is {media_type!r}, no image that is supported")

    def _document(self, repository: _Repository, target: str) -> tuple[bytes, str]:
        headers = {"Accept": ", ".join((*MANIFEST_TYPES, *INDEX_TYPES))}
        with self._send(repository, "GET", repository.url(f"manifests/{target}"), headers=headers) as answer:
            data = b"".join(_limited(answer, MAX_DOCUMENT_BYTES, "the manifest"))
            media_type = answer.headers.get("Content-Type", "").partition(";")[0].strip()
        if target.startswith("sha256:") and sha256_digest(data) != target:
            raise DigestError(f"the registry sent {sha256_digest(data)} for {target}")
        return data, media_type

    def _fetch_blob(self, repository: _Repository, digest: str, size: int, target: Path) -> Blob:
        kept = Blob(digest, size, target)
        if target.is_file() and _is_whole(kept):
            return kept
        target.parent.mkdir(parents=True, exist_ok=True)
        partial = target.with_name(target.name + ".partial")
        try:
            with (
                self._send(repository, "GET", repository.url(f"blobs/{digest}")) as answer,
                partial.open("wb") as stream,
            ):
                for chunk in _limited(answer, size, digest):
                    stream.write(chunk)
            if not _is_whole(Blob(digest, size, partial)):
                raise DigestError(f"the registry sent other bytes for {digest}")
            partial.replace(target)
        finally:
            partial.unlink(missing_ok=True)
        return kept

    def _push_blob(self, repository: _Repository, blob: Blob) -> None:
        url = repository.url(f"blobs/{blob.digest}")
        with self._send(repository, "HEAD", url, expect=(200, 404)) as answer:
            if answer.status_code == 200:
                return
        with self._send(repository, "POST", repository.url("blobs/uploads/"), expect=(202,)) as answer:
            location = answer.headers.get("Location", "")
        upload = httpx2.URL(url).join(location).copy_merge_params({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with self._send(repository, "PUT", str(upload), expect=(201,), headers=headers, content=blob.chunks):
            pass

    @contextmanager
    def _send(  # one request, its parts
        self,
        repository: _Repository,
        method: str,
        url: str,
        *,
        expect: tuple[int, ...] = (200, 201),
        headers: Mapping[str, str] | None = None,
        content: bytes | Callable[[], Iterator[bytes]] | None = None,
    ) -> Iterator[httpx2.Response]:
        """Send one request, with a token when the registry asks for one, following redirects of reads.

        ``content`` is bytes, or a function that starts the body anew (it may be sent twice).
        """
        http = self._local if repository.is_loopback else self._remote
        target, hops = httpx2.URL(url), 0
        while True:
            repository.check(target)
            own = dict(headers or {})
            if repository.token and target.host == httpx2.URL(repository.base).host:
                own["Authorization"] = f"Bearer {repository.token}"
            body = content() if callable(content) else content
            request = http.build_request(method, target, headers=own, content=body)
            try:
                response = http.send(request, stream=True)
            except httpx2.HTTPError as error:
                raise _unavailable(repository.host, error) from error
            with closing(response):
                if response.status_code == 401 and not repository.token:
                    repository.token = self._fetch_token(repository, response.headers.get("WWW-Authenticate", ""))
                elif response.is_redirect and method in {"GET", "HEAD"} and hops < _MAX_REDIRECTS:
                    target, hops = target.join(response.headers["Location"]), hops + 1
                else:
                    _check_status(repository, response, expect)
                    try:
                        yield response
                    except httpx2.HTTPError as error:
                        raise _unavailable(repository.host, error) from error
                    return

    def _fetch_token(self, repository: _Repository, challenge: str) -> str:
        """An anonymous token as the registry's challenge asks (distribution spec, token authentication)."""
        fields = dict(_CHALLENGE.findall(challenge))
        realm = fields.pop("realm", "")
        if not challenge.lower().startswith("bearer ") or not realm:
            raise RegistryError(f"{repository.host} wants a login", hint="only public images can be used")
        url = httpx2.URL(realm).copy_merge_params(
            {name: fields[name] for name in ("service", "scope") if name in fields}
        )
        repository.check(url)
        http = self._local if repository.is_loopback else self._remote
        try:
            with http.stream("GET", url) as response:
                data = b"".join(_limited(response, _MAX_TOKEN_BYTES, "the token answer"))
        except httpx2.HTTPError as error:
            raise _unavailable(url.host, error) from error
        document = parse_document(data, "token answer") if response.status_code == 200 else {}
        token = document.get("token") or document.get("access_token")
        if not isinstance(token, str) or not token:
            raise RegistryError(f"{repository.host} gives no anonymous access", hint="only public images can be used")
        return token


@dataclass(slots=True)
class _Repository:
    """Where the requests for one image go; keeps the token that was got on the way."""

    host: str
    base: str
    is_loopback: bool
    token: str = ""

    @classmethod
    def of(cls, reference: ImageReference) -> _Repository:
        host = _DOCKER_HUB if reference.registry == DEFAULT_REGISTRY else reference.registry
        scheme = "http" if reference.is_loopback else "https"
        return cls(reference.registry, f"{scheme}://{host}/v2/{reference.repository}/", reference.is_loopback)

    def url(self, path: str) -> str:
        return self.base + path

    def check(self, url: httpx2.URL) -> None:
        """Refuse plain HTTP to anywhere but the loopback registry itself."""
        own = httpx2.URL(self.base)
        if url.scheme != "https" and (url.scheme, url.host, url.port) != (own.scheme, own.host, own.port):
            raise RegistryError(f"{self.host} leads to {url.scheme}://{url.host}, which is not secure")


def _check_status(repository: _Repository, response: httpx2.Response, expect: tuple[int, ...]) -> None:
    if response.status_code in expect:
        return
    path = response.request.url.path
    if response.status_code == 404:
        raise ImageNotFoundError(f"{repository.host} has no {path}", hint="check the image's name; is it public?")
    if response.status_code >= 500:
        raise UnavailableError(f"{repository.host} answered {response.status_code} to {path}")
    raise RegistryError(f"{repository.host} answered {response.status_code} to {response.request.method} {path}")


def _limited(response: httpx2.Response, limit: int, what: str) -> Iterator[bytes]:
    seen = 0
    for chunk in response.iter_raw(CHUNK_BYTES):
        seen += len(chunk)
        if seen > limit:
            raise LimitError(f"{what} is longer than {limit} bytes")
        yield chunk


def _share(source: Path, target: Path) -> None:
    """Put a blob file of another layout here, too; what it holds is verified like a download."""
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        with contextlib.suppress(OSError):  # then it is downloaded
            shutil.copyfile(source, target)


def _is_whole(blob: Blob) -> bool:
    try:
        for _ in blob.chunks():
            pass
    except DigestError:
        return False
    return True


def _unavailable(host: str, error: Exception) -> UnavailableError:
    return UnavailableError(f"{host} does not answer: {type(error).__name__}", code="content.registry.unavailable")
