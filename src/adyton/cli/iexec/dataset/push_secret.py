"""``iexec dataset push-secret``: give the SMS a dataset's key."""

from __future__ import annotations

from adyton.base.secret import Secret
from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.pushing import KEEP_A_COPY, telling
from adyton.cli.iexec.values import asset_address
from adyton.sdk import datasets, secrets
from adyton.sdk.errors import ClientError

COMMAND = Command(
    "[datasetAddress]",
    (*o.READ, Option("--secret-path <secretPath>", "file with the key"), o.TEE_FRAMEWORK),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Push the key of the given file, or of the last encrypted dataset."""
    with context.signing() as session:
        address = asset_address(context, session, "dataset", arguments.text("dataset_address"))
        secret = _read(context, arguments)
        secrets.push_dataset_secret(session, address, secret, arguments.text("tee_framework"), tell=telling(context.ui))
    context.ui.info(KEEP_A_COPY)
    return Outcome(message=f"secret of dataset {address} pushed", next_step="iexec dataset publish")


def _read(context: Context, arguments: Arguments) -> Secret[str]:
    given = arguments.text("secret_path")
    path = context.cwd / (given or datasets.KEY_FOLDER / datasets.LAST_KEY_NAME)
    try:
        return Secret(path.read_text().strip())
    except OSError as error:
        raise ClientError(
            f"the key file {path} cannot be read: {error.strerror}",
            code="sdk.dataset.key_file",
            hint="iexec dataset encrypt makes one; --secret-path names another",
        ) from error
