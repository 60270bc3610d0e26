import pytest
from hypothesis import given
from hypothesis import strategies as st

from adyton.base.aead import DecryptionError, bind, decrypt, derive_key, encrypt, new_key

KEY = new_key()


@given(st.binary(max_size=200), st.lists(st.binary(max_size=20), max_size=4))
def test_round_trip_under_the_same_context(plaintext: bytes, context: list[bytes]) -> None:
    assert decrypt(KEY, encrypt(KEY, plaintext, *context), *context) == plaintext


@pytest.mark.parametrize(
    ("made", "opened"),
    [((b"a", b"b"), (b"ab",)), ((b"a", b"b"), (b"b", b"a")), ((b"row",), ()), ((b"", b"x"), (b"x", b""))],
)
def test_another_context_does_not_open(made: tuple[bytes, ...], opened: tuple[bytes, ...]) -> None:
    blob = encrypt(KEY, b"value", *made)
    with pytest.raises(DecryptionError):
        decrypt(KEY, blob, *opened)


def test_every_flipped_byte_and_every_truncation_is_refused() -> None:
    blob = encrypt(KEY, b"value", b"context")
    for index in range(len(blob)):
        changed = bytearray(blob)
        changed[index] ^= 1
        with pytest.raises(DecryptionError):
            decrypt(KEY, bytes(changed), b"context")
        with pytest.raises(DecryptionError):
            decrypt(KEY, blob[:index], b"context")


def test_keys_are_separated_by_label_and_context() -> None:
    keys = [derive_key(KEY, "a"), derive_key(KEY, "b"), derive_key(KEY, "a", b"x"), derive_key(KEY, "a", b"x", b"")]
    assert len({key.reveal() for key in keys}) == len(keys)
    assert derive_key(KEY, "a") == derive_key(KEY, "a")


@given(st.lists(st.binary(max_size=4), max_size=4), st.lists(st.binary(max_size=4), max_size=4))
def test_binding_is_injective(left: list[bytes], right: list[bytes]) -> None:
    assert (bind(*left) == bind(*right)) == (left == right)
