"""A small OpenAI-compatible server on loopback that says what a test wants, piece by piece, over a socket.

By default it copies sentences out of the passages of its prompt, with their numbers behind them, as an
obedient model would.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from infra.sentences import sentence_spans

_PASSAGE = re.compile(r'<passage n="(\d+)" file="[^"]*">\n(.*?)\n</passage>', re.DOTALL)
_PIECE = re.compile(r".{1,6}", re.DOTALL)

Script = Callable[[str], str]
"""From the prompt's text to the answer's."""


def obedient(prompt: str, *, most: int = 6) -> str:
    """Return sentences of the passages, each with its passage's number."""
    said = [
        f"{text[start:end].strip()} [{n}]"
        for n, text in _PASSAGE.findall(prompt)
        for start, end in sentence_spans(text)
    ]
    return " ".join(said[:most])


class ScriptedModel:
    """Listens while the `with` block lasts. `pause_s` is the time between two pieces of six characters."""

    def __init__(self, script: Script = obedient, *, pause_s: float = 0.0) -> None:
        self.script = script
        self.pause_s = pause_s
        self.prompts: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})

    @property
    def base_url(self) -> str:
        """The address to put into the settings, ending in `/v1`."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/v1"

    def __enter__(self) -> ScriptedModel:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


def _handler(model: ScriptedModel) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps({"object": "list", "data": [{"id": "scripted", "object": "model"}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            prompt = "\n".join(message["content"] for message in asked["messages"])
            model.prompts.append(prompt)
            self.send_response(200)
            self.send_header("Content-Type", "text/event-stream")
            self.end_headers()
            try:
                self._say(_PIECE.findall(model.script(prompt)))
            except OSError:
                return  # Whoever asked has gone away.

        def _say(self, pieces: Sequence[str]) -> None:
            for piece in pieces:
                time.sleep(model.pause_s)
                self._send({"content": piece}, None)
            self._send({}, "stop")
            self.wfile.write(b"data: [DONE]\n\n")

        def _send(self, delta: dict[str, Any], finish: str | None) -> None:
            choice = {"index": 0, "delta": delta, "finish_reason": finish}
            chunk = {
                "id": "1",
                "object": "chat.completion.chunk",
                "created": 1,
                "model": "scripted",
                "choices": [choice],
            }
            self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
            self.wfile.flush()

        def log_request(self, *_: object) -> None:
            """Keep quiet."""

    return Handler
