"""One of several processes that serve an endpoint: ``python -m herdwise.config.worker LINE``.

Started by ``herdwise serve --workers N``, never by hand: LINE is the file descriptor of a socket to it.
"""

from __future__ import annotations

import signal
import socket
import sys


def main() -> None:
    """Serve until told to end. What goes wrong is told on the line; exit code 1."""
    import msgspec

    from herdwise.config.rewiring import Rewiring
    from herdwise.config.served import Served, facts, share
    from herdwise.core.errors import HerdwiseError
    from herdwise.serving.app import serve
    from herdwise.serving.workers_link import Link

    link = Link(socket.socket(fileno=int(sys.argv[1])))
    served = msgspec.convert(link.hello.told, Served)
    try:
        rewiring = Rewiring(lambda: share(served.read(link.text), link.hello.workers))
        service = rewiring.build()
        serve(
            service,
            rebuild=rewiring.build,
            on_ready=lambda url: link.ready(facts(url, service)),
            link=link,
        )
    except HerdwiseError as error:
        link.fail(error)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


if __name__ == "__main__":
    main()
