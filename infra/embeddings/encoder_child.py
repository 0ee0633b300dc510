"""The embedding model's own process: answers `encoder_process` until its standard input ends."""

from __future__ import annotations

from infra.offline import close_phone_lines

close_phone_lines()

import json  # noqa: E402 - the switches come before everything that might read them
import os  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from pathlib import Path  # noqa: E402
from typing import BinaryIO  # noqa: E402

from infra.embeddings.encoder import LocalEncoder  # noqa: E402
from infra.embeddings.model_folder import ModelFolder  # noqa: E402
from infra.errors import ConfigurationError  # noqa: E402


def main() -> None:
    """Serve on standard input and output."""
    # Descriptor 1 is taken away from the libraries, whose prints would break the answer.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, out)


def serve(orders: BinaryIO, out: BinaryIO) -> None:
    """Load the model that `orders` begin with, answer on each pair of pipes, and end when `orders` do."""
    order = json.loads(orders.readline())
    encoder = LocalEncoder(ModelFolder(Path(order["folder"])), order["dtype"], order["lanes"])
    try:
        length = encoder.load()
    except ConfigurationError as error:
        _send(out, {"refused": error.message})
        return
    import torch

    torch.set_num_threads(order["threads"])
    channels = order["channels"]
    for requests, answers in zip(channels[::2], channels[1::2], strict=True):
        streams = os.fdopen(requests, "rb"), os.fdopen(answers, "wb")
        threading.Thread(target=_answer, args=(encoder, *streams), name="encoder lane", daemon=True).start()
    _send(out, {"length": length})
    orders.read()
    # Whatever is being computed has nobody to read it.
    os._exit(0)


def _answer(encoder: LocalEncoder, requests: BinaryIO, answers: BinaryIO) -> None:
    for line in requests:
        request = json.loads(line)
        vectors = encoder.encode(request["texts"], request["role"])
        content = vectors.astype("<f4").tobytes()
        _send(answers, {"bytes": len(content)}, content)


def _send(out: BinaryIO, header: dict[str, object], content: bytes = b"") -> None:
    out.write(json.dumps(header).encode() + b"\n" + content)
    out.flush()


if __name__ == "__main__":
    main()
