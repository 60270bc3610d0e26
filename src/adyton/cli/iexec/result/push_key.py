"""``iexec result push-encryption-key``: give the SMS the key that the wallet's results are encrypted for."""

from __future__ import annotations

from adyton.cli.iexec import options as o
from adyton.cli.iexec.context import Context
from adyton.cli.iexec.grammar import Arguments, Command, Option
from adyton.cli.iexec.outcome import Outcome
from adyton.cli.iexec.pushing import telling
from adyton.sdk import results, secrets
from adyton.sdk.errors import ClientError

COMMAND = Command(
    options=(
        *o.READ,
        Option("--force-update", "replace a key that is there"),
        Option("--secret-path <secretPath>", "file with the public key"),
        o.TEE_FRAMEWORK,
    ),
)


def run(context: Context, arguments: Arguments) -> Outcome:
    """Push the public key of the wallet's pair, or of the given file."""
    with context.signing() as session:
        default = results.key_files(results.BENEFICIARY_FOLDER, session.wallet.address).public_path
        path = context.cwd / (arguments.text("secret_path") or default)
        try:
            pem = path.read_bytes()
        except OSError as error:
            raise ClientError(
                f"the public key {path} cannot be read: {error.strerror}",
                code="sdk.result.key_file",
                hint="iexec result generate-encryption-keypair makes one; --secret-path names another",
            ) from error
        pushed = secrets.push_result_key(
            session,
            pem,
            force_update=arguments.flag("force_update"),
            framework=arguments.text("tee_framework"),
            tell=telling(context.ui),
        )
    context.ui.info("keep the private key: results that are encrypted for it can be read with nothing else")
    return Outcome({"isPushed": pushed.is_pushed, "isUpdated": pushed.is_updated})
