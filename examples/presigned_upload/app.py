"""Browsers upload straight into a bucket; the application scans there before anybody can see it (Flask).

POST /uploads            -> {"url": where to PUT the bytes, "ticket": proof that we gave that place out}
PUT  <url>               the browser to the bucket; the application never has the bytes in its hands
POST /uploads/done       ticket -> 201 published · 202 held for now · 422 refused

incoming/   the browser may write here, nobody may read
checking/   nobody but the application
public/     everybody may read
"""

import os
import uuid

import bucket
import fsspec
from flask import Flask, request
from itsdangerous import BadData, URLSafeTimedSerializer

from iii_client import Config, Content, IIIError, Scanner, UploadContext
from iii_client.integrations.rejection import REJECTED_STATUS, rejection_text
from iii_client.parts import Parts

BUCKET = os.environ["BUCKET"]  # any fsspec address: s3://my-bucket, gs://..., file:///...
MAX_BYTES = 100 * 1024 * 1024
LINK_S = 600

tickets = URLSafeTimedSerializer(os.environ["APP_SECRET"], salt="upload")
parts = Parts.from_config(Config.from_env())
scanner = Scanner.from_parts(parts)


def create_app():
    app = Flask(__name__)
    storage, root = fsspec.core.url_to_fs(BUCKET)

    @app.post("/uploads")
    def begin():
        key = uuid.uuid4().hex
        # With S3: boto3's generate_presigned_post(..., Conditions=[["content-length-range", 1, MAX_BYTES]])
        return {"url": bucket.presign(f"incoming/{key}", seconds=LINK_S), "ticket": tickets.dumps(key)}

    @app.post("/uploads/done")
    def done():
        try:
            # Only a place that we gave out, and only for a while: a client must not have us move other files.
            key = tickets.loads(request.form["ticket"], max_age=LINK_S)
        except BadData:
            return "unknown ticket", 400
        try:
            # Out of the browser's reach first: the link still works, and the bytes could be changed after
            # the scan. Only then are the bytes that were scanned the bytes that are published.
            storage.mv(f"{root}/incoming/{key}", f"{root}/checking/{key}")
        except FileNotFoundError:
            return "nothing was uploaded", 409
        return publish(key, uploader=request.form.get("user", ""))

    def publish(key, *, uploader):
        """Scan by reference. Also what a notification of the bucket, or a sweep of checking/, would call."""
        place, target = f"{BUCKET}/checking/{key}", f"{BUCKET}/public/{key}"
        context = UploadContext(route="presigned", uploader=uploader, reference=target)
        with Content.from_url(place, max_bytes=MAX_BYTES) as content:  # fetched once, never held in memory
            decision = scanner.scan(content, context=context)
            if decision.allowed:
                storage.mv(f"{root}/checking/{key}", f"{root}/public/{key}")
                return {"published": key}, 201
            try:
                # Sealed; a late "not listed" writes it to public/ by itself.
                parts.quarantine.hold(content, decision.encounter_id, target)
                storage.rm(f"{root}/checking/{key}")
            except IIIError:
                # Too large to be read, or the disk is full: it stays where nobody sees it, for a person.
                app.logger.exception("an upload could not be held")
        text = rejection_text(decision.case_reference, "abuse@board.example")
        return {"message": text}, REJECTED_STATUS

    return app
