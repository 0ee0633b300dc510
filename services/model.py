"""Which language model this server talks to: a private address, the built-in one, or none."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from infra.llama_server import LlamaServer, ServerState
from infra.llm import LanguageModel
from infra.models.catalogue import PLUMBING
from infra.models.files import check_gguf, installed, model_digest
from infra.settings import Settings

CONTEXT_TOKENS = 4096


@dataclass(frozen=True)
class ModelStatus:
    """What people are told: `state` is `ready`, `starting`, `failed` or `none`; memory in bytes."""

    state: str
    name: str | None
    memory_bytes: int = 0


class ModelServer:
    """Starts and stops the built-in model server, or knows the address of another one."""

    def __init__(self, settings: Settings) -> None:
        self._llama: LlamaServer | None = None
        self._model: LanguageModel | None = None
        self.name: str | None = None
        if settings.quote_only:
            return
        if settings.model_base_url:
            self._use_address(settings)
        elif (gguf := _local_file(settings)) is not None:
            self._use_file(settings, gguf)

    def _use_address(self, settings: Settings) -> None:
        key = settings.model_api_key.get_secret_value() if settings.model_api_key else None
        self.name = settings.model_name or settings.model_base_url
        self._model = LanguageModel(
            settings.model_base_url or "",
            key,
            settings.model_name,
            allowed_hosts=settings.model_hosts,
            timeout_s=settings.model_timeout_s,
        )

    def _use_file(self, settings: Settings, gguf: Path) -> None:
        log_file = settings.data_dir / "logs" / "llama.log"
        log_file.parent.mkdir(parents=True, exist_ok=True)
        llama = LlamaServer(
            gguf,
            log_file=log_file,
            threads=settings.model_threads,
            context=max(CONTEXT_TOKENS, _room(settings)),
        )
        self.name = gguf.stem
        self._llama = llama
        self._model = LanguageModel(
            lambda: llama.base_url,
            llama.api_key,
            timeout_s=settings.model_timeout_s,
            digest=model_digest(gguf),
        )

    def start(self) -> None:
        """Begin to load the built-in model; returns at once."""
        if self._llama is not None:
            self._llama.start()

    def stop(self) -> None:
        """End the built-in model's process."""
        if self._llama is not None:
            self._llama.stop()

    async def close(self) -> None:
        """Close connections to the model."""
        if self._model is not None:
            await self._model.close()

    def current(self) -> LanguageModel | None:
        """Return the model if it can be asked now; None means quotes only."""
        if self._llama is not None and self._llama.state is not ServerState.READY:
            return None
        return self._model

    def status(self) -> ModelStatus:
        """Return what to tell people; a remote model is taken to be ready until it fails."""
        if self._model is None:
            return ModelStatus("none", None)
        if self._llama is None:
            return ModelStatus("ready", self.name)
        state = {ServerState.READY: "ready", ServerState.STARTING: "starting"}.get(
            self._llama.state, "failed"
        )
        return ModelStatus(state, self.name, self._llama.memory_bytes())


def _local_file(settings: Settings) -> Path | None:
    if settings.model_path is not None:
        check_gguf(settings.model_path)
        return settings.model_path
    # The smallest starter is for plumbing tests: it invents freely, so it is used only when named.
    found = [model for model in installed(settings.models_dir) if model.starter is not PLUMBING]
    return found[0].path if found else None


def _room(settings: Settings) -> int:
    return settings.prompt_tokens * 2 + settings.model_max_tokens + 512
