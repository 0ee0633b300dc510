"""Where the master key comes from: a file, an environment variable, or a PKCS#11 module; exactly one of them.

With PKCS#11 the hardware holds an AES key that never leaves it, and the data folder holds the master key's
secret encrypted under that. At start the hardware decrypts the secret, which then is in this process's
memory: a copy of the disk opens nothing without the hardware, but whoever reads the memory of a running
server has it.
"""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Any, Final

from infra.errors import ConfigurationError
from infra.keys import KEY_BYTES, MasterKey, load_or_create_master_key, new_key, write_once
from infra.settings import Settings

WRAPPED_FILE: Final = "master.pkcs11"
"""The master key's secret, encrypted by the PKCS#11 module: `keys/master.pkcs11` under the data folder."""
GCM_NONCE_BYTES: Final = 12
_CONTEXT: Final = b"strongroom master key"


def load_master_key(settings: Settings, *, create: bool) -> MasterKey:
    """Return the master key from the one source that is set, by default its file.

    `create` makes a key where file or module have none yet. Raises ConfigurationError for two sources at
    once, for a key that is missing or is none, and for a module that does not do its part.
    """
    chosen = _chosen(settings)
    if chosen == "pkcs11":
        return _from_module(settings, create=create)
    if chosen == "environment":
        return _from_environment(settings)
    return load_or_create_master_key(settings.resolved_master_key_file, create=create)


def uses_key_file(settings: Settings) -> bool:
    """Tell whether the master key is in a plain file, whose copies and permissions matter."""
    return _chosen(settings) == "file"


def _chosen(settings: Settings) -> str:
    """Return the source that is set; raises ConfigurationError for more than one."""
    # A file that lies in the default place was the source before another one was set: two keys, and nobody
    # could say which of them the data was sealed with.
    sources = {
        "STRONGROOM_MASTER_KEY_FILE": settings.master_key_file is not None,
        "STRONGROOM_MASTER_KEY": settings.master_key is not None,
        "STRONGROOM_PKCS11_MODULE": settings.pkcs11_module is not None,
        str(settings.resolved_master_key_file): settings.master_key_file is None
        and settings.resolved_master_key_file.exists(),
    }
    named = [name for name, is_set in sources.items() if is_set]
    if len(named) > 1:
        raise ConfigurationError(
            f"The master key has more than one source: {' and '.join(named)}.",
            hint="Keep the one that the data was sealed with, and take the others away.",
        )
    if settings.pkcs11_module is not None:
        return "pkcs11"
    return "environment" if settings.master_key is not None else "file"


def _from_environment(settings: Settings) -> MasterKey:
    secret = settings.master_key.get_secret_value() if settings.master_key else ""
    try:
        return MasterKey(base64.b64decode(secret.strip(), validate=True))
    except ValueError:
        # Without the cause: an error about a secret must not repeat a part of it.
        raise ConfigurationError("STRONGROOM_MASTER_KEY is not 32 bytes in base64.") from None


def _from_module(settings: Settings, *, create: bool) -> MasterKey:
    file = settings.data_dir / "keys" / WRAPPED_FILE
    if not file.exists():
        if not create:
            raise ConfigurationError(
                f"The wrapped master key {file} is missing, but the data folder holds data sealed with it.",
                hint="Restore it from its backup; the module alone cannot open anything.",
            )
        nonce = os.urandom(GCM_NONCE_BYTES)
        wrapped = nonce + _with_module(settings, nonce, new_key(), is_wrapping=True)
        write_once(file, base64.b64encode(wrapped) + b"\n")
    wrapped = _read_wrapped(file)
    nonce, sealed = wrapped[:GCM_NONCE_BYTES], wrapped[GCM_NONCE_BYTES:]
    return MasterKey(_with_module(settings, nonce, sealed, is_wrapping=False))


def _read_wrapped(file: Path) -> bytes:
    try:
        wrapped = base64.b64decode(file.read_bytes().strip(), validate=True)
    except ValueError:
        wrapped = b""
    if len(wrapped) != GCM_NONCE_BYTES + KEY_BYTES + 16:
        raise ConfigurationError(
            f"The wrapped master key {file} is damaged.", hint="Restore it from its backup."
        )
    return wrapped


def _with_module(settings: Settings, nonce: bytes, data: bytes, *, is_wrapping: bool) -> bytes:
    """Let the module encrypt or decrypt with its AES key (AES-GCM, PKCS#11 v3.0 §2.13)."""
    # Imported here because it loads a library of C, which nobody needs who has no such module.
    import pkcs11

    pin = settings.pkcs11_pin.get_secret_value() if settings.pkcs11_pin else None
    params = pkcs11.GCMParams(nonce, _CONTEXT)
    try:
        token = pkcs11.lib(str(settings.pkcs11_module)).get_token(token_label=settings.pkcs11_token)
        with token.open(user_pin=pin) as session:
            key: Any = session.get_key(
                object_class=pkcs11.ObjectClass.SECRET_KEY,
                key_type=pkcs11.KeyType.AES,
                label=settings.pkcs11_key_label,
            )
            work = key.encrypt if is_wrapping else key.decrypt
            done: bytes = work(data, mechanism=pkcs11.Mechanism.AES_GCM, mechanism_param=params)
            return done
    except (pkcs11.PKCS11Error, RuntimeError) as error:
        # The library raises RuntimeError where the module's file cannot be loaded.
        raise ConfigurationError(
            f"The PKCS#11 module did not open the master key ({type(error).__name__}).",
            hint="Check STRONGROOM_PKCS11_MODULE, _TOKEN, _KEY_LABEL and _PIN.",
        ) from error
