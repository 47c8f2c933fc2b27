"""Many photos: which they are, what is done to each, what is done already, on one machine and on many.

``run`` does a batch, and yields its events; see ``stylize.batch.running``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["Done", "Event", "Failed", "Finished", "Planned", "Skipped", "Started", "run"]

if TYPE_CHECKING:
    from stylize.batch.running import Done, Event, Failed, Finished, Planned, Skipped, Started, run


def __getattr__(name: str) -> Any:  # nothing heavy is imported until a name is used
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from stylize.batch import running

    return getattr(running, name)
