import json
import pickle
import traceback

import pytest

from adyton.base.secret import Secret

CANARY = "canary-6f1d"


def test_no_text_form_shows_the_value() -> None:
    secret = Secret(CANARY)
    shown = [repr(secret), str(secret), f"{secret}", f"{secret:>20}", "%s" % secret, repr({"key": secret})]  # noqa: UP031
    assert all(CANARY not in text for text in shown)


def test_serialisers_refuse() -> None:
    with pytest.raises(TypeError):
        pickle.dumps(Secret(CANARY))
    with pytest.raises(TypeError):
        json.dumps({"key": Secret(CANARY)})


def test_a_traceback_does_not_show_the_value() -> None:
    def failing(secret: Secret[str]) -> None:
        raise ValueError(f"cannot use {secret}")

    with pytest.raises(ValueError, match="cannot use") as caught:
        failing(Secret(CANARY))
    assert CANARY not in "".join(traceback.format_exception(caught.value))


def test_comparison_is_by_value_and_hashing_refuses() -> None:
    assert Secret(b"a") == Secret(b"a")
    assert Secret(b"a") != Secret(b"b")
    assert Secret(b"a") != b"a"
    with pytest.raises(TypeError):
        hash(Secret(b"a"))


def test_reveal_gives_the_value() -> None:
    assert Secret(CANARY).reveal() == CANARY
    assert len(Secret(CANARY)) == len(CANARY)
