"""``iexec app init``: describe a new app in iexec.json."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.sdk import templates

COMMAND = Command(
    options=(*o.GLOBAL, *o.WALLET, Option("--tee", "describe an app for an enclave"), o.TEE_FRAMEWORK),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Write the template; ``--tee`` alone takes the framework of the default chain."""
    framework = arguments.text("tee_framework")
    if framework is None and arguments.flag("tee"):
        from adyton.sdk.config import default_framework_of  # noqa: PLC0415  # only with --tee

        framework = default_framework_of(context.project)
    app = templates.app(context.wallet_address(), framework)
    context.project.save_sections({"buyConf": {}, "app": app})
    return Outcome({"app": app}, message='app described in "iexec.json"', next_step="iexec app deploy")
