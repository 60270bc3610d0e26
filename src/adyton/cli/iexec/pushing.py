"""What every verb that puts a secret into an SMS tells its user: where it goes, and that nobody gives it back."""

from __future__ import annotations

from typing import Final

from adyton.cli.iexec.ui import Ui
from adyton.sdk.secrets import Channel, Tell

KEEP_A_COPY: Final = (
    "keep a copy of your own: nobody can read a secret back from the SMS, and an update of the CAS or the SMS, or the"
    " loss of their hardware, can lose it for good"
)


def telling(ui: Ui) -> Tell:
    """Says to the user what the SMS proved to be before anything is sent to it, and warns where others can read along.

    Silent under ``--raw``, whose output is the official client's.
    """

    def tell(channel: Channel) -> None:
        if channel.attested is not None:
            evidence = channel.attested.evidence
            simulated = " (SIMULATED: proves formats and measurement, no secrecy)" if evidence.simulated else ""
            ui.info(
                f"SMS attested: {channel.url} is MRENCLAVE {evidence.mrenclave.hex()} under {evidence.tier}{simulated}"
            )
        elif channel.readable:
            ui.warn(
                f"the secret goes to {channel.url} over plain HTTP: everybody on the way can read it, and nothing"
                " proves that an enclave gets it"
            )

    return tell
