"""What can be wrong with content: each class is one decision of the caller."""

from __future__ import annotations

from adyton.base.errors import InputError


class ContentError(InputError):
    """The bytes are not what their format demands; they cannot be used."""

    code = "content.malformed"


class DigestError(ContentError):
    """The bytes are not the ones that were named: wrong digest or wrong size."""

    code = "content.digest"


class LimitError(ContentError):
    """The content is larger, deeper or more numerous than is accepted."""

    code = "content.limit"


class EscapeError(ContentError):
    """An archive entry would be written outside its destination, or is a kind of file that is never unpacked."""

    code = "content.escape"
