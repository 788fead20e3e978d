"""The import rule of docs/explanation/architecture.md, read off the source: lower never imports higher."""

import ast
from pathlib import Path

import pytest

import iii_client

ROOT = Path(iii_client.__file__).parent

#: Rank of each room; a module may import only from lower ranks, or from its own room.
RANKS = [
    {"model", "errors", "test_picture"},
    {"config"},
    {"content", "protocols"},
    {"fingerprint", "filters", "service", "decide", "records"},
    {"updates", "notify"},
    {"checking"},
    {"parts"},
    {"scanner", "drain", "metrics"},
    {"rescan"},
    {"publisher"},
    {"sandbox"},
    {"testing", "integrations"},
    {"cli"},  # `iii-client serve` starts one of the integrations
    {"__main__"},
]
RANK = {room: rank for rank, rooms in enumerate(RANKS) for room in rooms}


def room_of(module: Path) -> str:
    return module.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(module: Path) -> set[str]:
    rooms: set[str] = set()
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{module.name}: imports are absolute here"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        rooms |= {name.split(".")[1] for name in names if name.startswith("iii_client.")}
    return {
        room for room in rooms if room in RANK or (ROOT / room).exists() or (ROOT / f"{room}.py").exists()
    }


MODULES = sorted(path for path in ROOT.rglob("*.py") if path.name != "__init__.py" or path.parent != ROOT)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_imports_only_downwards(module: Path) -> None:
    room = room_of(module)
    assert room in RANK, f"give the new room {room!r} a rank"
    for other in imported_rooms(module) - {room}:
        assert RANK[other] < RANK[room], f"{room} must not import {other}"


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_module_says_what_it_is(module: Path) -> None:
    docstring = ast.get_docstring(ast.parse(module.read_text(encoding="utf-8")))
    assert docstring, "a module starts with what the room does and promises"


def test_nothing_is_pickled_and_nothing_prints() -> None:
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = {alias.name for alias in node.names} | {getattr(node, "module", None)}
                assert not names & {"pickle", "shelve", "marshal", "dill", "cloudpickle"}, module.name
            called = node.func if isinstance(node, ast.Call) else None
            assert not (isinstance(called, ast.Name) and called.id in {"print", "exit", "eval"}), module.name
