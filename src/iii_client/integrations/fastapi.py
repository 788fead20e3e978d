"""FastAPI: a dependency that hands an endpoint only uploads that the policy allows. Needs `[fastapi]`.

    iii = III(app)

    @app.post("/pictures")
    async def upload(picture: Annotated[UploadFile, Depends(iii.upload("picture"))]):
        ...

The endpoint is not entered for an upload that is refused. One that rather looks at the decision itself takes
an `UploadFile` as usual and awaits `iii.scan(picture, request=request)`. See `integrations/asgi.py` for what
each action leads to.
"""

from collections.abc import Awaitable, Callable
from typing import Annotated

from iii_client.errors import MissingExtraError
from iii_client.integrations import asgi

try:
    from fastapi import File, Request, UploadFile
except ModuleNotFoundError as error:
    raise MissingExtraError("the integration for FastAPI", extra="fastapi") from error


class III(asgi.III):
    """As `asgi.III`, with dependencies."""

    def upload(self, field: str = "file") -> Callable[..., Awaitable[UploadFile]]:
        """A dependency that takes one file of a form, has it scanned, and gives it to the endpoint.

        A form without the field, or with one that holds no file, is FastAPI's own validation error.

        Args:
            field: name of the form's field, which the API's documentation shows, too.
        """

        async def allowed(request: Request, file: Annotated[UploadFile, File(alias=field)]) -> UploadFile:
            await self.check(file, request=request)
            return file

        return allowed

    def uploads(self, field: str = "files") -> Callable[..., Awaitable[list[UploadFile]]]:
        """The same for a field of many files; the first that is refused refuses them all."""

        async def allowed(
            request: Request, files: Annotated[list[UploadFile], File(alias=field)]
        ) -> list[UploadFile]:
            for file in files:
                await self.check(file, request=request)
            return files

        return allowed
