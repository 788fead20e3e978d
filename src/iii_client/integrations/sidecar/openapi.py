"""The OpenAPI 3.1 description of the sidecar's HTTP, as `/openapi.json` gives it."""

from typing import Any

from iii_client import __version__
from iii_client.integrations.sidecar.bodies import MAX_FIELDS
from iii_client.integrations.sidecar.hash_items import MAX_ITEMS

_TEXT = {"type": "string"}
_FILE = {"type": "string", "format": "binary"}
_DECISION: dict[str, Any] = {
    "type": "object",
    "required": ["allowed", "action", "outcome", "case_reference", "contact", "message"],
    "additionalProperties": False,
    "properties": {
        "allowed": {"type": "boolean", "description": "The question to ask."},
        "action": {"enum": ["allow", "quarantine", "block"]},
        "outcome": {
            "enum": ["no_match", "unscannable", "unconfirmed", "matched"],
            "description": "For the application's own eyes.",
        },
        "case_reference": {**_TEXT, "description": "What the uploader may quote; tells nothing."},
        "contact": _TEXT,
        "message": {**_TEXT, "description": "What to show the uploader; empty where it is allowed."},
    },
}
_ERROR: dict[str, Any] = {
    "type": "object",
    "required": ["error", "message"],
    "additionalProperties": False,
    "properties": {"error": _TEXT, "message": _TEXT},
}
_ITEM: dict[str, Any] = {
    "type": "object",
    "additionalProperties": False,
    "anyOf": [{"required": ["md5"]}, {"required": ["sha1"]}, {"required": ["sha256"]}],
    "properties": {
        "md5": {"type": "string", "pattern": "^[0-9a-fA-F]{32}$"},
        "sha1": {"type": "string", "pattern": "^[0-9a-fA-F]{40}$"},
        "sha256": {"type": "string", "pattern": "^[0-9a-fA-F]{64}$"},
        "size_bytes": {"type": "integer", "minimum": 0, "maximum": 1 << 50},
        "is_picture": {"type": "boolean", "default": True},
    },
}
_MEANINGS = {
    "400": "No file, several files, or a form or items that cannot be read.",
    "401": "The token is missing or unknown.",
    "408": "The upload did not come in time.",
    "413": "Too large; it was not looked at.",
    "415": "Neither bytes nor a multipart form.",
    "429": "Too many uploads of this tenant; see Retry-After.",
    "503": "Too busy; see Retry-After.",
}


def _json(schema: dict[str, Any]) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}


def _errors() -> dict[str, Any]:
    return {status: {"description": text, "content": _json(_ERROR)} for status, text in _MEANINGS.items()}


def _plain(*statuses: str) -> dict[str, Any]:
    return {
        status: {"description": "Plain text.", "content": {"text/plain": {"schema": _TEXT}}}
        for status in statuses
    }


def _upload(fields: tuple[str, ...]) -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["file"],
        "maxProperties": MAX_FIELDS + 1,
        "properties": {"file": _FILE, **{name: {**_TEXT, "maxLength": 1000} for name in fields}},
    }
    return {
        "required": True,
        "content": {
            "multipart/form-data": {"schema": form},
            "application/octet-stream": {"schema": {**_FILE, "minLength": 1}},
        },
    }


OPENAPI: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "iii-client serve", "version": __version__},
    "security": [{}, {"token": []}],
    "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    "paths": {
        "/scan": {
            "post": {
                "summary": "Look at one upload and decide.",
                "requestBody": _upload(("uploader", "place", "reference")),
                "responses": {
                    "200": {"description": "A decision.", "content": _json(_DECISION)},
                    **_errors(),
                },
            }
        },
        "/fingerprints": {
            "post": {
                "summary": "Decide about digests that were computed elsewhere.",
                "requestBody": {
                    "required": True,
                    "content": _json(
                        {
                            "type": "object",
                            "required": ["items"],
                            "additionalProperties": False,
                            "properties": {
                                "items": {
                                    "type": "array",
                                    "minItems": 1,
                                    "maxItems": MAX_ITEMS,
                                    "items": _ITEM,
                                }
                            },
                        }
                    ),
                },
                "responses": {
                    "200": {
                        "description": "Decisions, in the order of the items.",
                        "content": _json(
                            {
                                "type": "object",
                                "required": ["items"],
                                "properties": {"items": {"type": "array", "items": _DECISION}},
                            }
                        ),
                    },
                    **_errors(),
                },
            }
        },
        "/pict-rs": {
            "post": {
                "summary": "pict-rs's external validation: anything but 200 refuses the upload.",
                "requestBody": _upload(()),
                "responses": {**_errors(), **_plain("200", "422")},
            }
        },
        "/healthz": {"get": {"summary": "Whether the process answers.", "responses": _plain("200")}},
        "/readyz": {
            "get": {"summary": "Whether an upload would be looked at.", "responses": _plain("200", "503")}
        },
        "/metrics": {
            "get": {
                "summary": "Numbers of this host for Prometheus.",
                "responses": {
                    **_plain("200"),
                    **{status: _errors()[status] for status in ("401", "503")},
                },
            }
        },
    },
}
