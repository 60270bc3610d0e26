"""``docs/attestation.md`` lists every check as the code makes it."""

from __future__ import annotations

from tools.attestation_checks import PAGE, TABLES, filled


def test_the_page_has_the_checks_of_the_code() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == filled(page), "run: python tools/attestation_checks.py"
    missing = [code for table in TABLES.values() for code in table if f"`{code}`" not in page]
    assert not missing
