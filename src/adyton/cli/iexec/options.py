"""Options that several commands share, in the bundles of reference section 0.3."""

from __future__ import annotations

from typing import Final

from adyton.cli.iexec.grammar import Option

RAW: Final = Option("--raw", "print one line of JSON")
QUIET: Final = Option("--quiet", "print no progress")
FORCE: Final = Option("--force", "do not ask before acting")
CHAIN: Final = Option("--chain <name>", 'which chain of "chain.json" to use')
PASSWORD: Final = Option("--password <password>", "password of the wallet (others on this machine may see it)")
KEYSTORE: Final = Option("--keystoredir <path>", 'folder of the wallet: "global", "local" or a path')
TO: Final = Option("--to <address>", "receiver")
USER: Final = Option("--user <address>", "another account than the wallet's")
WATCH: Final = Option("--watch", "stay until the execution is over")
TEE_FRAMEWORK: Final = Option("--tee-framework <name>", "TEE framework to use", choices=("scone", "gramine", "tdx"))
TAG: Final = Option("--tag <tag>", "needed properties: tag1,tag2")
PRICE: Final = Option("--price <amount unit...>", "price of one execution (default unit nRLC, default 0)")
VOLUME: Final = Option("--volume <volume>", "how many executions the order is good for")
CATEGORY: Final = Option("--category <id>", "size class of the task")
SKIP_PREFLIGHT: Final = Option("--skip-preflight-check", "do not check that the execution would find what it needs")

GLOBAL: Final = (RAW, QUIET)
WALLET: Final = (
    PASSWORD,
    Option("--wallet-file <walletFileName>", "name of the wallet file"),
    Option("--wallet-address <walletAddress>", "address of the wallet"),
    KEYSTORE,
)
NEW_WALLET: Final = (
    PASSWORD,
    Option("--unencrypted", "write the wallet unprotected into the working directory"),
    KEYSTORE,
)
TRANSACTION: Final = (
    Option("--gas-price <amount unit...>", "gas price of transactions (default unit wei)"),
    Option("--confirms <blockCount>", "blocks to wait for (one is always enough here)"),
)
READ: Final = (*GLOBAL, *WALLET, CHAIN)
"""Commands that read the chain, for a wallet."""
WRITE: Final = (*GLOBAL, *WALLET, CHAIN, *TRANSACTION)
"""Commands that send transactions."""


def restrict(*kinds: str) -> tuple[Option, ...]:
    """``--<kind>-restrict`` options of order publishing."""
    return tuple(Option(f"--{kind}-restrict <address>", f"only together with this {kind}") for kind in kinds)
