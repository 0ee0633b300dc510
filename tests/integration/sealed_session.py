"""One whole session with a real server, to be run where every packet to the outside is caught.

    python -m tests.integration.sealed_session FOLDER [--planted]

Starts the server (with the small starter model if it is there), uploads a PDF and a DOCX, asks, opens a
source, stops. With `--planted`, somebody else's library phones home in between.
"""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from tests.serving import ROOT, Server, ask, finished_job, upload

# Reserved for documentation (RFC 5737): nobody is there.
OUTSIDE = ("203.0.113.7", 443)


def main(folder: Path, *, planted: bool) -> None:
    """Run the session; raises for anything that does not work as it should."""
    server = Server(folder, flags=()).start()
    try:
        person = server.person("Sealed")
        for name in ("travel-policy.pdf", "leave-policy.docx"):
            job = upload(person.client, name, (ROOT / "samples" / name).read_bytes())["x_job"]["id"]
            if finished_job(person.client, job)["state"] != "succeeded":
                raise RuntimeError(f"{name} was not ingested")
        answer = ask(person.client, "How many days of annual leave do employees get?", model="strongroom")
        citation = answer["x_citations"][0]
        person.client.get(f"/v1/sources/{citation['id']}").raise_for_status()
        if planted:
            with socket.socket() as call:
                call.setblocking(False)
                call.connect_ex(OUTSIDE)
        print("SESSION", answer["x_answer"]["status"], answer["x_answer"]["mode"])
    finally:
        server.stop()


if __name__ == "__main__":
    main(Path(sys.argv[1]), planted="--planted" in sys.argv)
