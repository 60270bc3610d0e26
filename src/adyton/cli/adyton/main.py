"""The ``adyton`` command: its table of verbs and the one place where errors become output.

A verb is a file; it is imported only when it is run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from cyclopts import App, CycloptsError

from adyton import __version__
from adyton.base.errors import AdytonError
from adyton.cli.refusal import show_refusal

_HELP = """Confidential computing on a marketplace that you run yourself.

Start a network with 'adyton up', then use it with 'iexec'. See everything work once with 'adyton demo'.
"""

_VERBS = (
    ("up", "adyton.cli.adyton.up:up", "Start a whole network on this machine."),
    ("down", "adyton.cli.adyton.down:down", "Stop the network; everything it stored stays."),
    ("status", "adyton.cli.adyton.status:status", "Show the network's services and addresses."),
    ("logs", "adyton.cli.adyton.logs:logs", "Print or follow the logs of the services."),
    ("chain-json", "adyton.cli.adyton.chain_json:chain_json", "Point the iexec command in this folder at the network."),
    ("fund", "adyton.cli.adyton.fund:fund", "Give a wallet test money on the network."),
    ("image", "adyton.cli.adyton.image:app", "Build and push application images without a Docker daemon."),
    ("enclave", "adyton.cli.adyton.enclave:app", "Signing keys and measurements of enclave images."),
    ("evidence", "adyton.cli.adyton.evidence:app", "Read and judge evidence: SGX, TDX, SEV-SNP, Nitro, any form."),
    ("collateral", "adyton.cli.adyton.collateral:app", "Carry what judging needs to hosts without a network."),
    ("cas", "adyton.cli.adyton.cas:app", "Verify a CAS, and keep sessions in it: who gets which secrets."),
    ("sms", "adyton.cli.adyton.sms:app", "Verify an SMS before anybody gives it a secret."),
    ("audit", "adyton.cli.adyton.audit:app", "The logs of CAS and SMS: verify them offline, read, publish their head."),
    ("keys", "adyton.cli.adyton.keys:app", "Exchange the keys of running services."),
    ("platform", "adyton.cli.adyton.platform:app", "Change the simulated machine, to see what sealed data survives."),
    ("demo", "adyton.cli.adyton.demo:demo", "A confidential task from purchase to verified result, and five refusals."),
)


def build_app() -> App:
    """The command's table of verbs."""
    app = App(name="adyton", help=_HELP, version=__version__)
    for name, target, help_text in _VERBS:
        app.command(target, name=name, help=help_text)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command; exit status 0 done, 1 failed with a reason, 2 wrong usage, 130 interrupted."""
    try:
        status = build_app()(arguments, exit_on_error=False, result_action="return_int_as_exit_code_else_zero")
    except CycloptsError:  # cyclopts has said what is wrong
        sys.exit(2)
    except AdytonError as error:
        show_refusal("adyton", error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
    sys.exit(status)
