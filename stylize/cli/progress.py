"""Progress: what is being done, how far it is and how long it will take, on one line that fits the terminal.

    check pictures ━━━━━━━━━━━━━━━━━━━━━━━━ 12236/12236  in 38 s
    train          ━╸──────────────────────    71/20000  6 h 2 min left  11.9 images/s

Name, bar, count and time are always there; what else there is to say only as far as the line is wide enough. Where
stderr is no terminal, a plain line comes at most every ten seconds. Rich, which is slow to import, is loaded when a bar
is drawn.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
    from rich.progress_bar import ProgressBar

SECONDS_BETWEEN_LINES = 10.0
SHORT = 1.0  # seconds: what took less leaves no line behind
LEAST_BAR, BAR = 4, 24  # columns
RECENT = 60  # counts that the pace is measured over


class Show(Protocol):
    """What shows that a phase has come so far. The first call for a phase begins it."""

    def __call__(self, what: str, done: int = 0, total: int | None = None, /, *facts: str) -> None:
        """``done`` of ``total``; None: there is no measure. ``facts``: the most important first."""


def nothing(what: str, done: int = 0, total: int | None = None, /, *facts: str) -> None:
    """A ``Show`` that shows nothing."""


@dataclass
class Phase:
    """A part of the work, and its pace.

    Attributes:
        until: when it ends at the latest, if that is known; all times are those of ``time.monotonic``.
    """

    name: str
    until: float | None = None
    done: int = 0
    total: int | None = None
    facts: tuple[str, ...] = ()
    started: float = field(default_factory=time.monotonic)
    ended: float | None = None
    counts: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=RECENT))

    def advance(self, done: int, total: int | None, facts: tuple[str, ...]) -> None:
        """Note how far it is now. With less done than before, it has begun anew, such as with the next layer."""
        if done < self.done:
            self.counts.clear()
        if not self.counts or done != self.done:
            self.counts.append((time.monotonic(), done))
        self.done, self.total, self.facts = done, total, facts

    def left(self, now: float) -> float | None:
        """Seconds that it will still take, by its recent pace; None: not known yet."""
        most = None if self.until is None else max(self.until - now, 0.0)
        if self.total is None or len(self.counts) < 2:
            return most
        (first, before), (last, done) = self.counts[0], self.counts[-1]
        expected = max((last - first) / max(done - before, 1) * (self.total - done) - (now - last), 0.0)
        return expected if most is None else min(expected, most)

    @property
    def count(self) -> str:
        """``71/20000``, as wide as it will ever be; nothing where there is no measure."""
        return "" if self.total is None else f"{self.done:>{len(str(self.total))}}/{self.total}"

    @property
    def duration(self) -> str:
        """How long it will still take, or has taken."""
        now = time.monotonic()
        if self.ended is not None or self.total is None:
            return f"{'in ' if self.ended is not None else ''}{span((self.ended or now) - self.started)}"
        left = self.left(now)
        return "? left" if left is None else f"{span(left)} left"

    def _bar(self, width: int) -> ProgressBar:
        from rich.progress_bar import ProgressBar

        if self.total is None:
            return ProgressBar(1, 1, width=width, pulse=self.ended is None)
        return ProgressBar(self.total, self.done, width=width)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        from rich.cells import cell_len
        from rich.table import Table
        from rich.text import Text

        words = [self.name, *filter(None, (self.count, self.duration))]
        room = options.max_width - sum(map(cell_len, words)) - len(words)
        cells: list[RenderableType] = [Text(word, "bold" if word is self.name else "") for word in words]
        if room >= LEAST_BAR:
            cells.insert(1, self._bar(min(BAR, room)))
        if facts := joined(self.facts, room - BAR - 1):
            cells.append(Text(facts))
        line = Table.grid(*([""] * len(cells)), padding=(0, 1, 0, 0))
        for column in line.columns:
            column.no_wrap = True
        line.add_row(*cells)
        yield line


def joined(facts: tuple[str, ...], width: int) -> str:
    """As many of the facts as have room, with commas between."""
    from rich.cells import cell_len

    text = ""
    for fact in facts:
        longer = f"{text}, {fact}" if text else fact
        if cell_len(longer) > width:
            break
        text = longer
    return text


def span(seconds: float) -> str:
    """``90 s``, ``12 min``, ``2 h 17 min``, ``11 h``"""
    if seconds < 100:
        return f"{seconds:.0f} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 10:
        return f"{round(seconds / 3600)} h"
    return " ".join([f"{hours} h"] * (hours > 0) + [f"{minutes} min"] * (minutes > 0))


@contextmanager
def bars(until: float | None = None) -> Iterator[Show]:
    """On a terminal: a line for each phase, which stays above the next one when the phase has ended.

    Args:
        until: when all ends at the latest, if that is known.
    """
    from rich.console import Console, Group
    from rich.live import Live

    current: list[Phase] = []  # at most one

    def show(what: str, done: int = 0, total: int | None = None, /, *facts: str) -> None:
        if not current or current[0].name != what:
            end()
            current.append(Phase(what, until))
        current[0].advance(done, total, facts)

    def end() -> None:
        if current:
            live.refresh()  # the last count is seen, though the line may go
            phase = current.pop()
            phase.ended = time.monotonic()
            live.refresh()  # without it
            if phase.ended - phase.started >= SHORT:
                live.console.print(phase)

    live = Live(
        get_renderable=lambda: Group(*current), console=Console(stderr=True, soft_wrap=True), refresh_per_second=8,
        redirect_stdout=sys.stdout.isatty(),  # results that go elsewhere must not end above the bar
        transient=True,
    )  # fmt: skip
    with live:
        try:
            yield show
        finally:
            end()


@contextmanager
def lines(say: Callable[[str], None], until: float | None = None) -> Iterator[Show]:
    """Where there is no terminal: a plain line, at most every ten seconds."""
    last = time.monotonic()
    phase: Phase | None = None

    def show(what: str, done: int = 0, total: int | None = None, /, *facts: str) -> None:
        nonlocal last, phase
        if phase is None or phase.name != what:
            phase = Phase(what, until)
        phase.advance(done, total, facts)
        now = time.monotonic()
        if now - last >= SECONDS_BETWEEN_LINES:
            last = now
            left = phase.left(now)
            count = "" if total is None else f"{done} of {total}"
            facts = (count, "" if left is None else f"{span(left)} left", *facts)
            say(f"{what}: {', '.join(filter(None, facts))}".removesuffix(": "))

    yield show
