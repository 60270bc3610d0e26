"""``adyton sms backup``: the five operations on the backups of an SMS; and how its operator reaches it at all."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, Parameter

from adyton.cli.adyton.inputs import quiet
from adyton.cli.adyton.options import State
from adyton.cli.adyton.sms import Accepted, fetching, targets

if TYPE_CHECKING:
    from adyton.sms.operation import SmsOperator

backup = App(name="backup", help="Make, copy, restore and delete encrypted backups, which lie with the SMS.")


@Parameter(name="*")
@dataclass(frozen=True, slots=True, kw_only=True)
class Operated(Accepted):
    """Which SMS, and as whom to give it orders."""

    role: Annotated[
        Literal["production", "debug"], Parameter(help="Which SMS of the network in --state, where no --url is given.")
    ] = "production"
    url: Annotated[
        str | None, Parameter(help="https://host:port of the SMS's TLS port. Default: that of the running network.")
    ] = None
    identity: Annotated[
        Path | None,
        Parameter(help="Folder with the operator's key, as 'adyton cas' makes it. Default: that of the network."),
    ] = None
    state: State = None  # said again, for its name is looked up in this module


_NETWORK = Operated()
Folder = Annotated[str, Parameter(help="Folder of the SMS's own file system, at or below its storage location.")]
Name = Annotated[str, Parameter(help="Name of the backup: two files, NAME and NAME.key.")]
DEFAULT_FOLDER = "/data/backup"


def opened(operated: Operated) -> SmsOperator:
    """A connection for orders to an SMS, which was verified.

    Raises:
        SmsIdentityError, AttestationError: it is not the one that is meant; nothing was ordered.
        InputError, NotFoundError: it is not said which one that is, or the operator's key is missing.
        UnavailableError: it cannot be reached.
    """
    from adyton.cas.client.operator import OperatorFiles  # noqa: PLC0415  # heavy, as all that follow
    from adyton.devnet.network import Network  # noqa: PLC0415
    from adyton.devnet.paths import NetworkPaths  # noqa: PLC0415
    from adyton.sms.attest import attest_sms  # noqa: PLC0415
    from adyton.sms.operation import SmsOperator  # noqa: PLC0415

    paths = NetworkPaths.of(operated.state)
    url = operated.url
    if url is None:
        network = Network.read(paths)
        url = network.sms_tls if operated.role == "production" else network.sms_debug_tls
    (expected,) = targets(url, operated)
    files = OperatorFiles(operated.identity or paths.data("operator"))
    with quiet():
        attested = attest_sms(expected.url, expected.policy(), fetch=fetching(operated.pccs))
    return SmsOperator(attested, files.certificate, files.key)


@backup.command
def make(*, operated: Operated = _NETWORK) -> None:
    """Make a backup of all secrets: work/backup.sql below the SMS's storage location. Replaces the one before.

    It is encrypted under the SMS's database key: nobody but this build of the SMS, with this CAS, can restore it, and
    after an exchange of the keys nobody at all.
    """
    with opened(operated) as sms:
        sms.backup()
    sys.stderr.write("the backup is made; 'adyton sms backup replicate NAME' keeps it under a name of its own\n")


@backup.command
def replicate(name: Name, /, *, folder: Folder = DEFAULT_FOLDER, operated: Operated = _NETWORK) -> None:
    """Copy the backup that was made last to a name of its own, over what has that name."""
    with opened(operated) as sms:
        sms.replicate(folder, name)
    sys.stderr.write(f"{name} is the backup that was made last\n")


@backup.command
def restore(name: Name, /, *, folder: Folder = DEFAULT_FOLDER, operated: Operated = _NETWORK) -> None:
    """Put all secrets into the state of a backup; what was pushed or changed since is gone.

    The SMS is offline meanwhile. All or nothing: a backup that is damaged, of another build, or of before an exchange
    of keys changes nothing.
    """
    with opened(operated) as sms:
        sms.restore(folder, name)
    sys.stderr.write(f"the SMS is in the state of {name}\n")


@backup.command
def delete(name: Name, /, *, folder: Folder = DEFAULT_FOLDER, operated: Operated = _NETWORK) -> None:
    """Delete a backup."""
    with opened(operated) as sms:
        sms.delete(folder, name)
    sys.stderr.write(f"{name} is deleted\n")


@backup.command
def copy(
    name: Name,
    new_name: Annotated[str, Parameter(help="Name of the copy.")],
    /,
    *,
    folder: Folder = DEFAULT_FOLDER,
    to: Annotated[str | None, Parameter(help="Folder of the copy, likewise. Default: --folder.")] = None,
    operated: Operated = _NETWORK,
) -> None:
    """Copy a backup, never over another one."""
    with opened(operated) as sms:
        sms.copy(folder, name, to or folder, new_name)
    sys.stderr.write(f"{new_name} is a copy of {name}\n")
