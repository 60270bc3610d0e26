"""docs/cas.md: every example is a session that the CAS accepts, and what it says about kinds and hashes is so."""

from __future__ import annotations

import hashlib
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import pytest

from adyton.attestation.policy import Weakness
from adyton.cas.client import operator
from adyton.cas.language.secretkinds import KINDS
from adyton.cas.language.session import from_document, session_hash
from adyton.cas.language.templates import _FORMATS, fill
from adyton.cas.releasing.material import Material, make_material

TEXT = (Path(__file__).parents[2] / "docs/cas.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda text: text.split("\n")[0])
def test_examples_are_accepted_and_can_be_released(example: str) -> None:
    session = operator.check_session(example.encode())
    assert from_document(session.to_document()) == session
    material = make_material(session, datetime(2026, 11, 22, tzinfo=UTC), None, Material())
    for image in session.images:
        assert all(fill(file.content, material, bytes(32)) for file in image.injection_files)


def test_the_whole_example_has_every_member() -> None:
    """A member that comes into the language must come into the document."""
    shown = operator.check_session(EXAMPLES[0].encode())
    assert {secret.kind for secret in shown.secrets} == KINDS
    for part in (shown, shown.services[0], shown.images[0], shown.access_policy, shown.security.attestation):
        missing = set(type(part).model_fields) - part.model_fields_set - {"predecessor", "upgrade", "url"}
        assert not missing


def test_a_session_with_approvers_is_shown() -> None:
    """It has an example of its own: its other members are limited."""
    assert any(operator.check_session(example.encode()).upgrade for example in EXAMPLES)


def test_the_table_of_kinds_is_complete() -> None:
    rows = {row[0]: row[-1] for row in (line.split(" | ") for line in TEXT.splitlines() if line.startswith("| `"))}
    for kind, formats in _FORMATS.items():
        row = next(cells for name, cells in rows.items() if f"| `{kind}`" == name)
        if kind != "x509-ca":
            assert re.findall("`([a-z0-9]+)`", row) == list(formats)


def test_the_hash_is_made_as_the_page_says() -> None:
    salt = bytes(range(16))
    for example in EXAMPLES:
        session = operator.check_session(example.encode())
        text = json.dumps(session.to_document(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        parts = (b"adyton/cas/session/1", salt, text.encode())
        joined = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        assert session_hash(session, salt) == hashlib.sha256(joined).hexdigest()


def test_every_weakness_is_named() -> None:
    assert all(f"`{weakness}`" in TEXT for weakness in Weakness)
