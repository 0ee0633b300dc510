"""The one family of errors. Raised low with facts; `services.errors` turns them into HTTP, once."""

from __future__ import annotations


class StrongroomError(Exception):
    """An expected failure with a stable code, a kind message and, where one helps, a hint.

    `code` is part of the public interface (the OpenAI error envelope's `code`); `param` names the
    offending field, if one does.
    """

    code = "strongroom_error"

    def __init__(self, message: str, *, hint: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.param = param


class InvalidInput(StrongroomError):
    """The request cannot be understood or is outside its limits."""

    code = "invalid_input"


class NotAuthenticated(StrongroomError):
    """Nobody was identified: no key, a wrong one, or one that has expired."""

    code = "not_authenticated"


class DirectoryRefused(NotAuthenticated):
    """A company directory vouched for nobody. The message is constant; `reason` is for the record only."""

    def __init__(self, reason: str) -> None:
        super().__init__(
            "The company directory did not confirm this sign-in.",
            hint="Try again; if it keeps failing, ask whoever runs the directory.",
        )
        self.reason = reason


class TokenRefused(DirectoryRefused):
    """A token of an OpenID Connect provider is not good, e.g. `expired` or `wrong_audience`."""


class NotPermitted(StrongroomError):
    """The person is known, but their role does not include this operation."""

    code = "not_permitted"


class NotFound(StrongroomError):
    """No such thing, or not theirs: the two look the same on purpose."""

    code = "not_found"


class Conflict(StrongroomError):
    """The thing is not in a state in which this can be done."""

    code = "conflict"


class Expired(StrongroomError):
    """The thing was there, and has been given up since."""

    code = "expired"


class WrongContentType(StrongroomError):
    """The body is of another type than this operation takes."""

    code = "wrong_content_type"


class UnsupportedVersion(StrongroomError):
    """The client speaks a version of a protocol that this server does not."""

    code = "unsupported_version"


class ChecksumMismatch(StrongroomError):
    """The bytes that arrived are not the ones that were sent; none of them was kept."""

    code = "checksum_mismatch"


class TooLarge(StrongroomError):
    """More bytes than the limit allows."""

    code = "too_large"


class TooSlow(StrongroomError):
    """The request did not arrive in time."""

    code = "too_slow"


class Throttled(StrongroomError):
    """Too many attempts; try again in `retry_after_s` seconds."""

    code = "throttled"

    def __init__(self, message: str, *, hint: str | None = None, retry_after_s: int = 1) -> None:
        super().__init__(message, hint=hint)
        self.retry_after_s = retry_after_s


class UnreadableFile(StrongroomError):
    """A file that cannot become passages. `code` is one of the documented reasons."""

    code = "unreadable_file"

    def __init__(self, code: str, message: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.code = code


class ReaderKilled(UnreadableFile):
    """The process that read a file was killed from outside, by its hunger or by no fault of the file."""


class AuditUnavailable(StrongroomError):
    """The ledger did not take the record in time, so nothing may happen."""

    code = "audit_unavailable"


class DatabaseBusy(StrongroomError, TimeoutError):
    """Another writer held the database for too long; nothing was changed."""

    code = "database_busy"


class ModelUnavailable(StrongroomError):
    """The language model cannot be reached or did not answer."""

    code = "model_unavailable"


class DirectoryUnavailable(StrongroomError):
    """A company directory cannot be reached, or answers what no working directory answers."""

    code = "directory_unavailable"


class AddressRefused(StrongroomError):
    """An address outside the private network was about to be contacted."""

    code = "address_refused"


class ConfigurationError(StrongroomError):
    """The settings contradict each other or the machine; the program does not start."""

    code = "configuration_error"
