"""Session documents for tests."""

from __future__ import annotations

import copy
from typing import Any, Final

import yaml

PRE: Final = "11" * 32
APP: Final = "22" * 32
POST: Final = "33" * 32


def iexec_document() -> dict[str, Any]:
    """A session as the SMS writes it for a task with a dataset, encrypted result and no callback."""
    return copy.deepcopy(
        {
            "name": "aB3dE6gH9j00000x" + "5a" * 32,
            "version": "0.3.10",
            "access_policy": {"read": ["CREATOR"], "update": ["NONE"]},
            "services": [
                {
                    "name": "pre-compute",
                    "image_name": "pre-compute-image",
                    "mrenclaves": [PRE],
                    "pwd": "/",
                    "command": "/app/pre-compute",
                    "environment": {
                        "IEXEC_DATASET_KEY": "dataset-key-canary",
                        "IS_DATASET_REQUIRED": "true",
                        "LD_LIBRARY_PATH": "/opt/java/openjdk/lib/server:/opt/java/openjdk/lib",
                    },
                },
                {
                    "name": "app",
                    "image_name": "app-image",
                    "mrenclaves": [APP],
                    "pwd": "/",
                    "command": 'node /app/app.js --in /iexec_in "two words"',
                    "environment": {"IEXEC_OUT": "/iexec_out", "IEXEC_APP_DEVELOPER_SECRET": "developer-canary"},
                },
                {
                    "name": "post-compute",
                    "image_name": "post-compute-image",
                    "mrenclaves": [POST],
                    "pwd": "/",
                    "command": "/app/post-compute",
                    "environment": {
                        "RESULT_STORAGE_PROVIDER": None,
                        "RESULT_ENCRYPTION_PUBLIC_KEY": "",
                        "SIGN_TEE_CHALLENGE_PRIVATE_KEY": "0x" + "7c" * 32,
                    },
                },
            ],
            "images": [
                {"name": "pre-compute-image", "volumes": [{"name": "iexec_in", "path": "/iexec_in"}]},
                {
                    "name": "app-image",
                    "volumes": [
                        {"name": "iexec_in", "path": "/iexec_in"},
                        {"name": "iexec_out", "path": "/iexec_out"},
                    ],
                },
                {
                    "name": "post-compute-image",
                    "volumes": [
                        {"name": "iexec_out", "path": "/iexec_out"},
                        {"name": "post-compute-tmp", "path": "/post-compute-tmp"},
                    ],
                },
            ],
            "volumes": [{"name": "iexec_in"}, {"name": "iexec_out"}, {"name": "post-compute-tmp"}],
            "security": {
                "attestation": {
                    "tolerate": ["hyperthreading", "outdated-tcb", "software-hardening-needed"],
                    "ignore_advisories": ["INTEL-SA-00161", "INTEL-SA-00289"],
                    "mode": "maa",
                    "url": None,
                }
            },
        }
    )


def small_document(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """The smallest session of one service, with ``changes`` on top."""
    document = {"name": "small", "version": "0.3", "services": [{"name": "app", "mrenclaves": [APP]}]}
    return {**copy.deepcopy(document), **changes}


def to_yaml(document: dict[str, Any]) -> bytes:
    """The document as it is posted."""
    return yaml.safe_dump(document, sort_keys=False).encode()
