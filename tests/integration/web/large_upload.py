"""A process of its own: serves an application, uploads a large file to it, and prints what that added.

    python large_upload.py flask|fastapi MEGABYTES

Prints one line: the status, and by how many MiB the process's highest resident size grew, server
and client together, from after a first small upload.
"""

import http.client
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from iii_client.testing.pictures import innocent_picture

MIB = 1 << 20
BOUNDARY = "iii-test-boundary"


def serve_flask() -> int:
    from flask import Flask, request
    from werkzeug.serving import make_server

    from iii_client.integrations.flask import III

    app = Flask("large")
    iii = III(app)

    @app.post("/")
    def take() -> str:
        iii.check(request.files["picture"])
        return "stored"

    server = make_server("127.0.0.1", 0, app, threaded=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


def serve_fastapi() -> int:
    import uvicorn
    from fastapi import Depends, FastAPI, UploadFile

    from iii_client.integrations.fastapi import III

    app = FastAPI()
    iii = III(app)

    @app.post("/")
    async def take(picture: Annotated[UploadFile, Depends(iii.upload("picture"))]) -> str:
        return "stored"

    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None))
    threading.Thread(target=server.run, daemon=True).start()
    while not server.started:
        time.sleep(0.01)
    return int(server.servers[0].sockets[0].getsockname()[1])


def send(port: int, chunks: Any, size_bytes: int) -> int:
    head = (
        f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="picture"; filename="a.bin"\r\n\r\n'.encode()
    )
    tail = f"\r\n--{BOUNDARY}--\r\n".encode()

    def body() -> Iterator[bytes]:
        yield head
        yield from chunks
        yield tail

    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request(
        "POST",
        "/",
        body=body(),
        headers={
            "Content-Type": f"multipart/form-data; boundary={BOUNDARY}",
            "Content-Length": str(len(head) + size_bytes + len(tail)),
        },
    )
    return connection.getresponse().status


def highest_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1])
    raise AssertionError("no VmHWM here")


def main() -> None:
    port = {"flask": serve_flask, "fastapi": serve_fastapi}[sys.argv[1]]()
    small, chunk, count = innocent_picture().data, b"\x01" * (MIB // 4), 4 * int(sys.argv[2])
    assert send(port, [small], len(small)) == 200
    # Forgets the peak so far, which importing and making the small picture left.
    Path("/proc/self/clear_refs").write_text("5")
    before = highest_kib()
    status = send(port, (chunk for _ in range(count)), len(chunk) * count)
    sys.stdout.write(f"{status} {(highest_kib() - before) / 1024:.1f}\n")


main()
