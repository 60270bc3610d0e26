"""Options that several verbs share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from adyton.base.errors import InputError

State = Annotated[
    Path | None,
    Parameter(name="--state", help="Folder of the network. Default: $ADYTON_HOME, else ~/.adyton."),
]
PortChoices = Annotated[
    list[str] | None,
    Parameter(name="--port", help="SERVICE=NUMBER, for example --port sms=23300; may be given again.", negative=()),
]


def parse_ports(choices: list[str] | None) -> dict[str, int]:
    """Turn ``service=number`` words into a mapping.

    Raises:
        InputError: a word of another form, or an unknown service.
    """
    from adyton.devnet.network import Ports  # noqa: PLC0415  # pydantic is needed by few verbs

    ports: dict[str, int] = {}
    for choice in choices or []:
        service, _, number = choice.partition("=")
        service = service.replace("-", "_")
        if service not in Ports.model_fields or not number.isdigit():
            raise InputError(
                f"--port {choice}: not SERVICE=NUMBER",
                code="devnet.port.choice",
                hint="the services are: " + ", ".join(name.replace("_", "-") for name in Ports.model_fields),
            )
        ports[service] = int(number)
    return ports
