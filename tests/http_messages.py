"""HTTP as a server of these tests reads it."""

import socket


def read_message(connection: socket.socket) -> bytes:
    """One whole HTTP message with a Content-Length, or what came before the other side closed.

    To its end: closing with bytes that were not read resets the connection under the answer.
    """
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            return data
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    names = dict(line.lower().partition(b":")[::2] for line in head.split(b"\r\n")[1:])
    length = int(names.get(b"content-length", b"0"))
    while len(body) < length:
        chunk = connection.recv(65536)
        if not chunk:
            break
        body += chunk
    return head + b"\r\n\r\n" + body
