"""Image names."""

from __future__ import annotations

import pytest

from adyton.base.errors import InputError
from adyton.content.reference import ImageReference

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("alpine", ImageReference("docker.io", "library/alpine", "latest")),
        ("iexechub/python-hello-world:8.0.0", ImageReference("docker.io", "iexechub/python-hello-world", "8.0.0")),
        ("index.docker.io/iexechub/x", ImageReference("docker.io", "iexechub/x", "latest")),
        ("127.0.0.1:13200/demo/poly:1.0.0", ImageReference("127.0.0.1:13200", "demo/poly", "1.0.0")),
        ("localhost/x:y", ImageReference("localhost", "x", "y")),
        (f"ghcr.io/a/b/c@{DIGEST}", ImageReference("ghcr.io", "a/b/c", "", DIGEST)),
        (f"ghcr.io/a/b:1@{DIGEST}", ImageReference("ghcr.io", "a/b", "1", DIGEST)),
        ("[::1]:5000/x", ImageReference("[::1]:5000", "x", "latest")),
    ],
)
def test_names_are_read_and_written(text: str, expected: ImageReference) -> None:
    assert ImageReference.parse(text) == expected
    assert ImageReference.parse(str(expected)) == expected


@pytest.mark.parametrize(
    "text",
    ["", "upper/Case", "a/../b", "x:", "x:bad tag", "x@sha256:12", "x@", "http://x/y", "x/", "/x", "a" * 300,
     "x:" + "t" * 129, "host:port/x", "x y", "user@host/x", "x?query", "127.0.0.1:1/../../etc"],
)  # fmt: skip
def test_what_is_no_name(text: str) -> None:
    with pytest.raises(InputError):
        ImageReference.parse(text)


@pytest.mark.parametrize(
    ("text", "loopback"),
    [
        ("127.0.0.1:1/x", True),
        ("127.9.9.9/x", True),
        ("localhost:1/x", True),
        ("[::1]:5000/x", True),
        ("localhost.example/x", False),
        ("127.0.0.1.example/x", False),
        ("10.0.0.1:1/x", False),
        ("x", False),
    ],
)
def test_only_this_machine_is_spoken_to_without_tls(text: str, loopback: bool) -> None:
    assert ImageReference.parse(text).is_loopback is loopback
