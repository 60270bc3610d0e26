"""Approvers of a network's SMS: said before its first start, kept, and never changed."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from adyton.base.errors import InputError
from adyton.devnet.approvers import ApproversFixedError, fix_approvers, read_approvers
from adyton.devnet.paths import NetworkPaths
from adyton.enclave.successors import UpgradePolicy

A, B = "aa" * 32, "bb" * 32


@pytest.fixture
def paths(tmp_path: Path) -> NetworkPaths:
    return NetworkPaths.of(tmp_path / "network")


def test_by_default_there_are_none(paths: NetworkPaths) -> None:
    fix_approvers(paths, [], None)
    assert read_approvers(paths) is None


def test_what_was_said_is_kept(paths: NetworkPaths) -> None:
    fix_approvers(paths, [B, A], None)
    assert read_approvers(paths) == UpgradePolicy((A, B), 2)
    fix_approvers(paths, [B, A], 1)  # its enclaves are not built yet
    (paths.images / "sms-production").mkdir()
    fix_approvers(paths, [], None)
    fix_approvers(paths, [A, B], 1)
    assert read_approvers(paths) == UpgradePolicy((A, B), 1)


@pytest.mark.parametrize("given", [([A], None), ([A, B], 2)], ids=["another one", "another number"])
def test_nothing_is_changed_once_the_enclaves_are_there(paths: NetworkPaths, given: tuple[list[str], int]) -> None:
    fix_approvers(paths, [A, B], 1)
    (paths.images / "sms-production").mkdir()
    with pytest.raises(ApproversFixedError):
        fix_approvers(paths, *given)
    assert read_approvers(paths) == UpgradePolicy((A, B), 1)


def test_an_sms_without_approvers_gets_none_later(paths: NetworkPaths) -> None:
    (paths.images / "sms-production").mkdir()
    with pytest.raises(ApproversFixedError):
        fix_approvers(paths, [A], 1)
    assert read_approvers(paths) is None


@pytest.mark.parametrize(
    "act",
    [
        pytest.param(lambda paths: fix_approvers(paths, [], 1), id="a number of nobody"),
        pytest.param(lambda paths: fix_approvers(paths, ["0x12"], 1), id="no key hash"),
        pytest.param(lambda paths: fix_approvers(paths, [A, A], 1), id="one twice"),
        pytest.param(lambda paths: fix_approvers(paths, [A], 2), id="more than there are"),
        pytest.param(lambda paths: fix_approvers(paths, [A], 0), id="no approval"),
    ],
)
def test_wrong_options_are_refused(paths: NetworkPaths, act: Callable[[NetworkPaths], None]) -> None:
    with pytest.raises(InputError):
        act(paths)
    assert read_approvers(paths) is None


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"approvers": ["aa"], "threshold": 1}', "[" * 100_000])
def test_a_file_that_was_changed_is_refused(paths: NetworkPaths, text: str) -> None:
    (paths.root / "sms-approvers.json").write_text(text)
    with pytest.raises(InputError):
        read_approvers(paths)
