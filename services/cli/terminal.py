"""What reaches the terminal: answers and tables on standard output, messages on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rich.console import Console

    from infra.errors import StrongroomError

# Documents and other people's file names are printed; their control characters could move the cursor,
# rewrite earlier lines or talk to the terminal (ECMA-48), so only line breaks and tabs stay.
_CONTROLS: Final = dict.fromkeys([*range(9), *range(11, 32), *range(127, 160)])
# These turn the reading direction around, which makes one name look like another (Unicode TR 36, 3.2).
_TURNS: Final = dict.fromkeys([*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F])


def answers() -> Console:
    """Return the console for what was asked for."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def messages() -> Console:
    """Return the console for everything else: progress, warnings, errors."""
    from rich.console import Console

    return Console(stderr=True, highlight=False, markup=False, emoji=False)


@contextmanager
def record_progress(doing: str, *, hidden: bool) -> Iterator[Callable[[int, int], None] | None]:
    """Yield what shows how many records of how many are done, on standard error; None where nobody looks."""
    console = messages()
    if hidden or not console.is_terminal:
        yield None
        return
    from rich.progress import Progress

    with Progress(console=console, transient=True) as bar:
        task = bar.add_task(doing, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def plain(text: str) -> str:
    """Return `text` without characters that control a terminal; what is no text at all is escaped."""
    # Half a surrogate pair, as in a file name that is no UTF-8, cannot be written anywhere.
    return text.translate(_CONTROLS | _TURNS).encode("utf-8", "backslashreplace").decode()


def print_json(document: Any) -> None:
    """Print one JSON document to standard output, for scripts, in ASCII: any terminal and string will do."""
    sys.stdout.write(json.dumps(document, indent=2) + "\n")
    sys.stdout.flush()


def print_error(error: StrongroomError) -> None:
    """Say what went wrong in one sentence, and what helps."""
    console = messages()
    console.print(plain(error.message), style="bold red", soft_wrap=True)
    if error.hint:
        console.print(plain(error.hint), soft_wrap=True)


def in_words(size: int) -> str:
    """Return a number of bytes as people read it, e.g. `1.4 MB` (SI units)."""
    amount = float(size)
    for unit in ("bytes", "kB", "MB"):
        if amount < 1000:
            return f"{amount:.0f} {unit}" if unit == "bytes" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} GB"
