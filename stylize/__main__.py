"""The command ``stylize``, and ``python -m stylize``."""

import signal
import time


def main() -> None:
    """Run the command line. Until that has handlers of its own, SIGINT ends it as quietly as SIGTERM does."""
    started = time.monotonic()
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a traceback, however early
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    from stylize.cli import main

    main(started)


if __name__ == "__main__":
    main()
