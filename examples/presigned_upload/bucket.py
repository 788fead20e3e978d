"""Stands for an object storage that takes signed uploads: `python bucket.py PORT FOLDER`."""

import hashlib
import hmac
import os
import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlencode, urlsplit

KEY = os.environ["BUCKET_KEY"].encode()


def _sign(name, expires):
    return hmac.new(KEY, f"{name}\n{expires}".encode(), hashlib.sha256).hexdigest()


def presign(name, *, seconds):
    """A link that takes one PUT of this name for a while."""
    expires = int(time.time()) + seconds
    query = urlencode({"expires": expires, "signature": _sign(name, expires)})
    return f"{os.environ['BUCKET_HTTP']}/{name}?{query}"


class Handler(BaseHTTPRequestHandler):
    def do_PUT(self):
        url = urlsplit(self.path)
        name = url.path.lstrip("/")
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        expires = query.get("expires", "0")
        genuine = hmac.compare_digest(query.get("signature", ""), _sign(name, expires))
        if not genuine or int(expires) < time.time():
            self.send_error(403)
            return
        target = Path(sys.argv[2]) / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
