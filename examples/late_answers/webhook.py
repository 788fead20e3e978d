"""A web application's side of the webhook, by the standard library alone: python webhook.py PORT KEY_FILE"""

import hashlib
import hmac
import json
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

KEY = Path(sys.argv[2]).read_text().strip().encode()
MAX_BODY_BYTES = 64 * 1024

seen = set()  # in a real application: a column of the upload's row


def is_genuine(headers, body):
    """From our own iii-client, and at most five minutes old."""
    timestamp, signature = headers.get("III-Timestamp", ""), headers.get("III-Signature", "")
    expected = "v1=" + hmac.new(KEY, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
    fresh = timestamp.isdigit() and abs(time.time() - int(timestamp)) <= 300
    return fresh and hmac.compare_digest(signature, expected)


def act_on(answer):
    match answer["action"]:
        case "allow":
            print("publish", answer["reference"], flush=True)
        case "quarantine":
            print("keep hidden", answer["reference"], flush=True)
        case "block":
            print("take down", answer["reference"], flush=True)


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(min(int(self.headers.get("Content-Length", 0)), MAX_BODY_BYTES))
        if not is_genuine(self.headers, body):
            self.send_error(403)
            return
        notice = json.loads(body)
        if notice["id"] not in seen:
            seen.add(notice["id"])
            if notice["kind"] == "late_answer":
                act_on(notice["data"])
            else:
                print(notice["kind"], notice["data"], flush=True)
        # Any 2xx: taken. Anything else: it comes again.
        self.send_response(204)
        self.end_headers()

    def log_message(self, *args):
        pass


HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
