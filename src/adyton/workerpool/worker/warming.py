"""What a worker does before its first task, so that the task does not wait for it: fetch and unpack stage enclaves.

Only a hint: every image is looked up again by the task that needs it, and measured again at each launch.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Final

from adyton.base.errors import AdytonError
from adyton.base.log import get_logger
from adyton.sms.client import SmsClient

if TYPE_CHECKING:
    from adyton.workerpool.worker.context import WorkerContext

_log = get_logger("worker.warming")
_FRAMEWORK: Final = "SCONE"
_PAUSE_S: Final = 1.0
_TRIES: Final = 30  # service, registry and platform may come up after the worker


def warm_up(context: WorkerContext, stop: threading.Event) -> None:
    """Fetch the stage enclaves that the configured service names, and have the platform unpack and measure them.

    Never raises for what is not there: the tasks will say so.
    """
    for _ in range(_TRIES):
        try:
            _prepare_stages(context)
        except AdytonError as error:
            _log.info("stages not ready yet", code=error.code, detail=error.message)
        else:
            return
        if stop.wait(_PAUSE_S):
            return


def _prepare_stages(context: WorkerContext) -> None:
    settings = context.settings
    sms = SmsClient(settings.warm_sms_url)
    try:
        properties = sms.properties(_FRAMEWORK, settings.warm_framework_version)
    finally:
        sms.close()
    for stage in (properties.pre_compute_properties, properties.post_compute_properties):
        layout = context.images.stage(stage.image, stage.fingerprint)
        if context.platform is not None:
            context.platform.prepare(layout)
