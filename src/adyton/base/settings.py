"""One frozen settings object per service: TOML file < environment < explicit values, read once in ``main``.

Unknown keys are errors, in the file and in the environment (a misspelt ``ADYTON_SMS_PROT`` must not pass silently).
Secrets are never settings: a setting names the file that holds one.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from adyton.base.errors import InputError


class Settings(BaseModel):
    """Base of every service's settings.

    Subclasses set :attr:`env_prefix` (for example ``ADYTON_MARKET_``) and may list official names in
    :attr:`env_names` (environment name to field name).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    env_prefix: ClassVar[str] = ""
    env_names: ClassVar[Mapping[str, str]] = {}

    @classmethod
    def load(
        cls,
        file: Path | None = None,
        env: Mapping[str, str] | None = None,
        **explicit: Any,  # noqa: ANN401
    ) -> Self:
        """Read the settings of this service.

        Raises:
            InputError: unreadable file, unknown key, or a value out of its range; the message names each.
        """
        values: dict[str, Any] = {}
        if file is not None:
            values |= _read_toml(file)
        values |= cls._from_env(os.environ if env is None else env)
        values |= {key: value for key, value in explicit.items() if value is not None}
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
            raise InputError(
                f"settings of {cls.__name__}: " + "; ".join(lines),
                code="settings.invalid",
                hint=f"correct {file or 'the environment'}; the fields are: {', '.join(cls.model_fields)}",
            ) from None

    @classmethod
    def _from_env(cls, env: Mapping[str, str]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name, value in env.items():
            if name in cls.env_names:
                found[cls.env_names[name]] = value
            elif cls.env_prefix and name.startswith(cls.env_prefix):
                found[name.removeprefix(cls.env_prefix).lower()] = value
        return found


def _read_toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read the settings file {file}: {error.strerror}", code="settings.file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{file} is not valid TOML: {error}", code="settings.file") from error
