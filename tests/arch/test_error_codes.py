import runpy
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]


def test_the_page_of_error_codes_is_the_code_s() -> None:
    tool = runpy.run_path(str(REPOSITORY / "tools" / "error_codes.py"))
    wanted = tool["document"]()
    assert (REPOSITORY / "docs" / "errors.md").read_text(encoding="utf-8") == wanted, (
        "run: python tools/error_codes.py > docs/errors.md"
    )


def test_every_code_says_what_it_means() -> None:
    tool = runpy.run_path(str(REPOSITORY / "tools" / "error_codes.py"))
    assert [code for code, meaning in tool["codes"]().items() if not meaning] == []
