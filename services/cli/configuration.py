"""Settings for the command line: from the environment, overruled by flags; and `config show`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit, urlunsplit

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_settings import SettingsError

from infra.errors import ConfigurationError
from infra.settings import Settings
from services.cli.terminal import answers, print_json

if TYPE_CHECKING:
    from collections.abc import Iterator

PREFIX: Final = "STRONGROOM_"
MASK: Final = "••••••"
_HINT: Final = "docs/settings.md describes every setting; `strongroom config show` lists the current ones."


def load_settings(**flags: Any) -> Settings:
    """Return the settings; flags that are None leave the environment's word.

    Raises ConfigurationError that names the first setting that is not usable, without repeating its value.
    """
    given = {name: value for name, value in flags.items() if value is not None}
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = PREFIX + str(first["loc"][0] if first["loc"] else "").upper()
        raise ConfigurationError(f"{name} is not usable: {first['msg']}.", hint=_HINT) from error
    except SettingsError as error:
        raise ConfigurationError(f"A setting that takes JSON is not usable: {error}.", hint=_HINT) from error


def show(settings: Settings, *, as_json: bool) -> None:
    """Print every setting, its value and whether it is the default; secrets are masked."""
    rows = list(_rows(settings))
    if as_json:
        print_json({row["name"]: row for row in rows})
        return
    from rich.table import Table

    table = Table("setting", "value", "from", box=None, pad_edge=False)
    for row in rows:
        table.add_row(row["name"], row["shown"], "default" if row["default"] else "environment")
    answers().print(table)


def _rows(settings: Settings) -> Iterator[dict[str, Any]]:
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        shown = _masked(value)
        yield {
            "name": PREFIX + name.upper(),
            "value": _as_json(shown),
            "shown": "–" if shown is None else _text(shown),
            "default": value == field.get_default(call_default_factory=True),
            "description": field.description,
        }


def _as_json(value: Any) -> Any:
    """Return a value as JSON knows it; models and secrets within lists as they describe themselves."""
    if isinstance(value, list):
        return [_as_json(item) for item in value]
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return value if isinstance(value, bool | int | float) else _text(value)


def _text(value: Any) -> str | None:
    return None if value is None else str(value)


def _masked(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, str) and "://" in value:
        return _without_password(value)
    return value


def _without_password(address: str) -> str:
    """Mask the password of an address such as `postgresql+psycopg://name:secret@host/db`."""
    parts = urlsplit(address)
    who, at, where = parts.netloc.rpartition("@")
    if not at or ":" not in who:
        return address
    return urlunsplit(parts._replace(netloc=f"{who.partition(':')[0]}:{MASK}@{where}"))
