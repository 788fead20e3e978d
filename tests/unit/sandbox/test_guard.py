"""Logins, limits and a full house, without a network."""

import asyncio
import base64
from http import HTTPStatus

import pytest
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message

from iii_client.config import Secret
from iii_client.sandbox.guard import MAX_AT_ONCE, Credentials, Problem, guarded, read_body

LOGIN = Credentials(username="hôster", password=Secret("wørd:with colon"))


def basic(text: str) -> str:
    return f"Basic {base64.b64encode(text.encode()).decode()}"


def request(*chunks: bytes, authorization: str = "") -> Request:
    parts = iter(chunks)

    async def receive() -> Message:
        chunk = next(parts, None)
        return {"type": "http.request", "body": chunk or b"", "more_body": chunk is not None}

    headers = [(b"authorization", authorization.encode())] if authorization else []
    return Request({"type": "http", "method": "POST", "headers": headers}, receive)


def test_the_right_login_is_let_in_whatever_its_characters() -> None:
    assert LOGIN.allow(basic("hôster:wørd:with colon"))


@pytest.mark.parametrize(
    "header",
    [
        *("", "Basic", "Basic ", "Basic =", basic(""), basic(":"), basic("hôster"), basic("hôster:")),
        *(basic("hôster:wrong"), basic("other:wørd:with colon"), basic("hôster:wørd:with colon ")),
        basic("hôster:wørd:with colon").replace("Basic", "Bearer"),
        basic("hôster:wørd:with colon") + "é",
    ],
)
def test_any_other_header_is_not(header: str) -> None:
    assert not LOGIN.allow(header)


def test_a_login_does_not_show_its_password() -> None:
    assert "wørd" not in repr(LOGIN)


def test_a_body_in_pieces_is_cut_off_at_its_limit() -> None:
    assert asyncio.run(read_body(request(b"ab", b"cd"), at_most=4)) == b"abcd"
    with pytest.raises(Problem) as caught:
        asyncio.run(read_body(request(*[b"ab"] * 1000), at_most=4))
    assert caught.value.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def test_a_full_house_says_when_to_come_back() -> None:
    async def run() -> Problem:
        leave = asyncio.Event()

        @guarded(LOGIN)
        async def busy(_: Request) -> Response:
            await leave.wait()
            return PlainTextResponse("done")

        guest = request(authorization=basic("hôster:wørd:with colon"))
        inside = [asyncio.ensure_future(busy(guest)) for _ in range(MAX_AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(Problem) as caught:
            await busy(guest)
        leave.set()
        assert [reply.status_code for reply in await asyncio.gather(*inside)] == [200] * MAX_AT_ONCE
        assert (await busy(guest)).status_code == 200
        return caught.value

    problem = asyncio.run(run())
    assert problem.status_code == HTTPStatus.SERVICE_UNAVAILABLE
    assert problem.headers is not None
    assert int(problem.headers["Retry-After"]) > 0


def test_the_body_of_a_stranger_is_not_read() -> None:
    async def never() -> Message:
        raise AssertionError("it was read")

    @guarded(LOGIN)
    async def endpoint(_: Request) -> Response:
        raise AssertionError("it was reached")

    stranger = Request({"type": "http", "method": "POST", "headers": []}, never)

    async def run() -> None:
        await endpoint(stranger)

    with pytest.raises(Problem) as caught:
        asyncio.run(run())
    assert caught.value.status_code == HTTPStatus.UNAUTHORIZED
