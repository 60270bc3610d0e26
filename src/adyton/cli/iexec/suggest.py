"""Did-you-mean: the names closest to a mistyped one.

The rule is the one of the command-line library behind the official client, so that messages agree: optimal string
alignment distance of at most 3, similarity above 0.4, only the nearest candidates, in dictionary order.
"""

from __future__ import annotations

from collections.abc import Sequence

_MAX_DISTANCE = 3
_MIN_SIMILARITY = 0.4


def suggestion(word: str, candidates: Sequence[str]) -> str:
    """The line to append to an "unknown …" message, starting with a line break; empty when nothing is close."""
    is_option = word.startswith("--")
    prefix = "--" if is_option else ""
    bare = word[2:] if is_option else word
    names = [name[2:] if is_option else name for name in dict.fromkeys(candidates)]
    best = _MAX_DISTANCE
    similar: list[str] = []
    for name in names:
        if len(name) <= 1:
            continue
        distance = _distance(bare, name)
        length = max(len(bare), len(name))
        if (length - distance) / length <= _MIN_SIMILARITY or distance > best:
            continue
        if distance < best:
            best, similar = distance, []
        similar.append(name)
    shown = [prefix + name for name in sorted(similar, key=_dictionary_order)]
    if not shown:
        return ""
    if len(shown) == 1:
        return f"\n(Did you mean {shown[0]}?)"
    return f"\n(Did you mean one of {', '.join(shown)}?)"


def _dictionary_order(name: str) -> tuple[str, str]:
    return name.lower(), name.swapcase()  # small letters before capitals


def _distance(left: str, right: str) -> int:
    """Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours cost one each."""
    if abs(len(left) - len(right)) > _MAX_DISTANCE:
        return max(len(left), len(right))
    rows = [list(range(len(right) + 1))]
    for i, a in enumerate(left, start=1):
        row = [i]
        for j, b in enumerate(right, start=1):
            cost = min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (a != b))
            if i > 1 and j > 1 and a == right[j - 2] and left[i - 2] == b:
                cost = min(cost, rows[-2][j - 2] + 1)
            row.append(cost)
        rows.append(row)
    return rows[-1][-1]
