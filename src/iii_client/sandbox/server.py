"""The practice service as an object: open a folder, list pictures, publish, start, stop.

Promises: everything that makes it this service (lists, keys, credentials) is in its folder, so opened again
it is the same one, on whatever port; it listens on loopback only; one process a folder; the filter's
metadata is re-signed at start and every hour, as a real publisher's timer does.
"""

import errno
import fcntl
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Self

import uvicorn

from iii_client.config import Secret
from iii_client.errors import ConfigurationError, IIIError
from iii_client.model import ListKind, ReleaseId
from iii_client.publisher import Description, FilterRepository, read_csv, test_picture_entries
from iii_client.sandbox.app import build_app
from iii_client.sandbox.corpus import DEFAULT_SOURCE, Corpus
from iii_client.sandbox.guard import Credentials
from iii_client.updates.durable import replace_durably

#: The only address. The lists answer about any hash, and the login travels unencrypted.
HOST = "127.0.0.1"
#: How often metadata is re-signed; clients call a filter stale after a day.
RESIGN_EVERY_S = 3600.0
START_TIMEOUT_S = 30.0
#: How long open requests may go on after `stop`.
STOP_TIMEOUT_S = 2

_LOGINS = ("service", "filter", "filter-exact")

logger = logging.getLogger(__name__)


class Sandbox:
    """One practice service. Open it with `open`, use it as a context manager. Thread-safe."""

    def __init__(self, data_dir: Path, *, lock: int, listener: socket.socket) -> None:
        self._data_dir = data_dir
        self._lock = lock
        self._listener = listener
        self._port = listener.getsockname()[1]
        self._corpus = Corpus(data_dir / "corpus.db")
        self._corpus.add_entries(test_picture_entries(), kind=ListKind.TEST)
        self._repository = FilterRepository.open_or_create(
            data_dir / "filter", keys_dir=data_dir / "keys", practice=True
        )
        replace_durably(data_dir / "root.json", self._repository.root_bytes)
        self._service_login, self._filter_login, self._exact_login = _logins(data_dir / "credentials.json")
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._life = threading.Lock()
        self._stopped = threading.Event()

    @classmethod
    def open(cls, data_dir: Path, *, port: int = 0) -> Self:
        """Open the service in a folder, or make a new one there. It listens only after `start`.

        Args:
            data_dir: keeps lists, keys and credentials (mode 0700).
            port: on 127.0.0.1; 0 takes a free one.

        Raises:
            ConfigurationError: the folder is in use or not writable, or the port is taken.
        """
        data_dir = data_dir.absolute()
        try:
            data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = _take(data_dir / "lock")
        except OSError as error:
            raise ConfigurationError(
                f"the practice service's folder cannot be used: {error.strerror}",
                hint="Name a folder that can be written.",
            ) from error
        try:
            listener = _bind(port)
            try:
                return cls(data_dir, lock=lock, listener=listener)
            except BaseException:
                listener.close()
                raise
        except BaseException:
            os.close(lock)
            raise

    # --- lists ------------------------------------------------------------------------------------------

    def add_pictures(
        self,
        paths: Iterable[Path],
        *,
        list_name: str = "known",
        source: str = DEFAULT_SOURCE,
        categories: Sequence[tuple[str, str]] = (),
    ) -> int:
        """List harmless pictures: files, or folders with everything below. See `Corpus.add_pictures`."""
        return self._corpus.add_pictures(paths, list_name=list_name, source=source, categories=categories)

    def add_list(self, path: Path) -> int:
        """List the hashes of a CSV file, all or none.

        Returns:
            How many entries it has.

        Raises:
            ConfigurationError: the file cannot be read, or a line is malformed.
        """
        try:
            with path.open(encoding="utf-8", newline="") as file:
                return self._corpus.add_entries(read_csv(file))
        except OSError as error:
            raise ConfigurationError(f"the list cannot be read: {error.strerror}") from error

    @property
    def corpus(self) -> Corpus:
        """The lists themselves."""
        return self._corpus

    def publish(self, *, deltas: bool = False) -> ReleaseId:
        """Publish what is listed as a filter release; nothing new when nothing changed.

        Near segments are immutable: whatever is listed after a release makes another one, and 16 may be.

        Args:
            deltas: as a publisher does day by day: deltas where they do, a base only when one is due. By
                default a base, which holds exactly what is listed now.

        Raises:
            PublishError: there are 16; or a list has hashes under both conventions of PDQ.
        """
        description = Description(kinds=self._corpus.catalogue.kinds())
        if deltas:
            return self._repository.publish(self._corpus.entries(), description=description).release
        return self._repository.publish_base(
            self._corpus.entries(), withdrawn=self._corpus.withdrawn(), description=description
        ).release

    # --- the server -------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """Where it listens once started."""
        return f"http://{HOST}:{self._port}"

    @property
    def env(self) -> dict[str, str]:
        """Every environment variable that points a client at this service, in enforce mode."""
        return {
            "III_MODE": "enforce",
            "III_STATE_DIR": str(self._data_dir / "client-state"),
            "III_SERVICE_URL": self.url,
            "III_SERVICE_PROTOCOL": "v2",
            "III_SERVICE_USERNAME": self._service_login.username,
            "III_SERVICE_PASSWORD": self._service_login.password.reveal(),
            "III_FILTER_URL": f"{self.url}/filter",
            "III_FILTER_ROOT": str(self._data_dir / "root.json"),
            "III_FILTER_USERNAME": self._filter_login.username,
            "III_FILTER_PASSWORD": self._filter_login.password.reveal(),
        }

    @property
    def exact_only_env(self) -> dict[str, str]:
        """The same for a client whose login does not open near segments."""
        return self.env | {
            "III_FILTER_NEAR": "false",
            "III_FILTER_USERNAME": self._exact_login.username,
            "III_FILTER_PASSWORD": self._exact_login.password.reveal(),
        }

    def start(self) -> None:
        """Serve from a background thread; returns once connections are accepted. Once is enough.

        Raises:
            ConfigurationError: it was stopped, or did not come up.
        """
        with self._life:
            if self._stopped.is_set():
                raise ConfigurationError("the practice service was stopped", hint="Open its folder again.")
            if self._server is None:
                self._repository.refresh()
                self._serve()

    @property
    def is_serving(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None and not self._stopped.is_set()

    def wait(self) -> None:
        """Block until another thread calls `stop`, or a signal handler of this one raises."""
        self._stopped.wait()

    def serve_forever(self) -> None:
        """`start`, then `wait`."""
        self.start()
        self.wait()

    def stop(self) -> None:
        """Stop serving and let go of the folder. Stopping twice is fine."""
        with self._life:
            if self._stopped.is_set():
                return
            if self._server is not None and self._thread is not None:
                self._server.should_exit = True
                self._thread.join()
            self._listener.close()
            self._corpus.close()
            os.close(self._lock)
            self._stopped.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    def _serve(self) -> None:
        app = build_app(
            self._corpus,
            service_login=self._service_login,
            filter_login=self._filter_login,
            exact_login=self._exact_login,
            public_dir=self._repository.public_dir,
        )
        server = uvicorn.Server(
            uvicorn.Config(
                app,
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_graceful_shutdown=STOP_TIMEOUT_S,
            )
        )
        thread = threading.Thread(
            target=server.run, kwargs={"sockets": [self._listener]}, name="iii-sandbox", daemon=True
        )
        thread.start()
        deadline_s = time.monotonic() + START_TIMEOUT_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline_s:
                raise ConfigurationError("the practice service did not start")
            time.sleep(0.005)
        self._server, self._thread = server, thread
        threading.Thread(target=self._keep_signed, name="iii-sandbox-sign", daemon=True).start()

    def _keep_signed(self) -> None:
        while not self._stopped.wait(RESIGN_EVERY_S):
            try:
                self._repository.refresh()
            except (IIIError, OSError) as error:
                # By kind only: the text of an OSError holds a path.
                logger.warning("the filter's metadata could not be re-signed (%s)", type(error).__name__)


def _take(path: Path) -> int:
    """Hold the lock file; the kernel frees it when the process dies, however it dies."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise ConfigurationError(
            "another practice service runs on this folder",
            hint="Stop it, or name another folder with --data.",
        ) from None
    return descriptor


def _bind(port: int) -> socket.socket:
    # The protocol is named because asyncio sets TCP_NODELAY only where it is; without it every answer
    # waits 40 ms for the client's delayed acknowledgement.
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
    except (OSError, OverflowError) as error:
        listener.close()
        taken = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        raise ConfigurationError(
            f"port {port} is {'taken' if taken else 'not available'}",
            hint="Leave out --port to take a free one.",
        ) from error
    return listener


def _logins(path: Path) -> tuple[Credentials, Credentials, Credentials]:
    """(service, filter, filter without near segments), made at random the first time."""
    try:
        if not path.exists():
            _keep_logins(path, {name: _new_login(name) for name in _LOGINS})
        kept = json.loads(path.read_bytes())
        if {"service", "filter"} <= set(kept) and "filter-exact" not in kept:
            # A folder from before there was a login for exact sections.
            kept["filter-exact"] = _new_login("filter-exact")
            _keep_logins(path, kept)
        service, filter_, exact = (
            Credentials(username=kept[name]["username"], password=Secret(kept[name]["password"]))
            for name in _LOGINS
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            "the practice service's credentials are unreadable",
            hint="Delete credentials.json in its folder to make new ones.",
        ) from error
    return service, filter_, exact


def _new_login(name: str) -> dict[str, str]:
    return {"username": f"practice-{name}", "password": secrets.token_urlsafe(24)}


def _keep_logins(path: Path, logins: Mapping[str, object]) -> None:
    replace_durably(path, json.dumps(logins).encode(), mode=0o600)
