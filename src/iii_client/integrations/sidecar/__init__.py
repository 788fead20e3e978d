"""`iii-client serve`: the scanner as a daemon, for everything that is not Python. In the extra `[server]`.

    supervisor ── binds the sockets, starts workers, replaces them on SIGHUP, drains them on SIGTERM
       └─ worker × N ── clamd's protocol (`integrations.clamd`) and HTTP, over one `Desk` with one scanner

Promises: nothing is listened to but Unix sockets and, where asked for, loopback; a bounded number of scans at
once and in the queue, beyond that "try again later"; a tenant is told by the socket or the token it uses.
"""
