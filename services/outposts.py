"""What the record is shown to outside: witnesses that cosign it, and a SIEM that it is forwarded to."""

from __future__ import annotations

from typing import Final

from infra.audit.forwarding.forwarding import Forwarding
from infra.audit.forwarding.syslog import SyslogReceiver
from infra.audit.ledger import Ledger
from infra.audit.removal.retention import Outside
from infra.audit.witness.witnessing import Witnessing
from infra.settings import Settings

NONE: Final = "none"
"""Nothing of the kind is set up."""
_WORST_FIRST: Final = ("refused", "unreachable", "new", "reached")


def outside_of(settings: Settings) -> Outside:
    """Return who has to have seen records before retention may take them."""
    names = tuple(witness.name for witness in settings.witnesses)
    return Outside(is_forwarded=settings.syslog_url is not None, witnesses=names)


class Outposts:
    """The threads that talk to them. None of them holds up an answer."""

    def __init__(self, ledger: Ledger, settings: Settings) -> None:
        """Set up what the settings name; raises ConfigurationError. Contacts nobody yet."""
        hosts = settings.model_hosts
        self.witnessing = Witnessing(ledger, settings.witnesses, allowed_hosts=hosts)
        self.forwarding = Forwarding(ledger, _receiver(settings)) if settings.syslog_url else None

    def start(self) -> None:
        """Begin."""
        self.witnessing.start()
        if self.forwarding is not None:
            self.forwarding.start()

    def stop(self) -> None:
        """Stop; what was not done by now is done after the next start."""
        self.witnessing.stop()
        if self.forwarding is not None:
            self.forwarding.stop()

    def summary(self) -> dict[str, str]:
        """Return the worst state of the witnesses, and that of the SIEM, for a readiness probe.

        `refused` means that a witness saw another history: the record itself needs attention.
        """
        states = {status.state for status in self.witnessing.statuses()}
        worst = next((state for state in _WORST_FIRST if state in states), NONE)
        return {"witnesses": worst, "forwarding": self.forwarding.status.state if self.forwarding else NONE}


def _receiver(settings: Settings) -> SyslogReceiver:
    return SyslogReceiver.at(
        settings.syslog_url or "",
        allowed_hosts=settings.model_hosts,
        ca_file=settings.syslog_ca_file,
        certificate_file=settings.syslog_certificate_file,
        key_file=settings.syslog_key_file,
    )
