"""A picture store in FastAPI: `uvicorn --factory app:create_app`."""

import os
import uuid
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import Depends, FastAPI, UploadFile

from iii_client.integrations.fastapi import III

STORE = anyio.Path(os.environ.get("STORE_DIR", "store"))


def create_app() -> FastAPI:
    app = FastAPI(title="Picture store")
    iii = III(app, settings={"contact": "abuse@store.example"})

    @app.post("/pictures", status_code=201)
    async def upload(picture: Annotated[UploadFile, Depends(iii.upload("picture"))]) -> dict[str, str]:
        """Entered only for what may be stored; anything else has been answered 422."""
        await STORE.mkdir(parents=True, exist_ok=True)
        name = uuid.uuid4().hex + Path(picture.filename or "").suffix.lower()[:5]
        async with await (STORE / name).open("wb") as file:
            while chunk := await picture.read(1 << 20):
                await file.write(chunk)
        return {"name": name}

    @app.get("/pictures")
    async def pictures() -> list[str]:
        return sorted([path.name async for path in STORE.iterdir()]) if await STORE.exists() else []

    return app
