"""Who knows secrets: what an engine takes, and what each gives for a name."""

from __future__ import annotations

import asyncio
import dataclasses
import pickle
import threading
from typing import TYPE_CHECKING

import pytest

from treadle import EnvironmentSecrets, FileSecrets, SecretError, ValidationError
from treadle.secrets import as_provider, described

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def get(given: object, name: str) -> str | None:
    provider = as_provider(given)
    assert provider is not None
    return asyncio.run(provider.get(name))


def test_the_environment_gives_what_has_the_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TREADLE_SECRET_TOKEN", "from the environment")
    monkeypatch.setenv("MY_TOKEN", "mine")
    assert get(EnvironmentSecrets(), "TOKEN") == "from the environment"
    assert get(EnvironmentSecrets(), "PATH") is None
    assert get(EnvironmentSecrets("MY_"), "TOKEN") == "mine"
    assert get(EnvironmentSecrets(prefix=""), "MY_TOKEN") == "mine"


def test_a_folder_gives_its_files_and_nothing_outside(tmp_path: Path) -> None:
    (tmp_path / "outside").write_text("outside")
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "db-password").write_text("hunter2\n")
    (folder / "key.pem").write_text("a\nb\n\n")
    (folder / "below").mkdir()
    assert get(FileSecrets(folder), "db-password") == "hunter2"
    assert get(FileSecrets(folder), "key.pem") == "a\nb\n"
    for name in ("nothing", "../outside", str(tmp_path / "outside"), "..", ".", "below", "a\0b", ""):
        assert get(FileSecrets(folder), name) is None, name


def test_a_file_gives_the_texts_of_its_object_as_they_are_now(tmp_path: Path) -> None:
    path = tmp_path / "secrets.json"
    assert get(FileSecrets(path), "TOKEN") is None
    path.write_text('{"TOKEN": "first"}')
    assert get(FileSecrets(path), "TOKEN") == "first"
    path.write_text('{"TOKEN": "second"}')
    assert get(FileSecrets(path), "TOKEN") == "second"
    for broken in ('{"TOKEN": 5}', "TOKEN=hunter2", "[1]"):
        path.write_text(broken)
        with pytest.raises(ValueError, match=f"the file {path} holds no text") as error:
            get(FileSecrets(path), "TOKEN")
        assert "hunter2" not in str(error.value)


async def asked(name: str) -> str:
    return f"async {name}"


class Own:
    async def get(self, name: str) -> str | None:
        return {"X": "own"}.get(name)


def test_mappings_functions_and_objects_of_your_own_are_providers() -> None:
    assert get({"X": "given"}, "X") == "given"
    assert get({"X": "given"}, "Y") is None
    assert get(lambda name: f"sync {name}", "X") == "sync X"
    assert get(asked, "X") == "async X"
    assert get(Own(), "X") == "own"


def test_of_several_the_first_that_knows_a_name_counts() -> None:
    assert get([{"A": "1"}, Own(), {"X": "3", "B": "4"}], "X") == "own"
    assert get([{"A": "1"}, Own(), {"X": "3", "B": "4"}], "B") == "4"
    assert get([], "A") is None


def test_a_function_that_is_not_async_is_asked_on_a_thread_that_ends_with_the_process() -> None:
    threads: list[threading.Thread] = []

    def ask(name: str) -> str:
        threads.append(threading.current_thread())
        return name

    assert get(ask, "X") == "X"
    assert (len(threads), threads[0].daemon) == (1, True), "one that hangs keeps no process from ending"


def test_whatever_a_function_raises_comes_back() -> None:
    def raising(error: BaseException) -> Callable[[str], str]:
        def ask(_: str) -> str:
            raise error

        return ask

    for error in (OSError("vault"), SystemExit("token")):
        with pytest.raises(type(error)):
            get(raising(error), "X")
    with pytest.raises(RuntimeError, match="StopIteration"):
        get(raising(StopIteration()), "X")


def test_what_comes_when_nobody_waits_any_more_is_dropped() -> None:
    release = threading.Event()
    answered = threading.Event()

    def slow(_: str) -> str:
        release.wait(20)
        answered.set()
        return "late"

    async def ask() -> None:
        provider = as_provider(slow)
        assert provider is not None
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await provider.get("X")
        release.set()
        await asyncio.to_thread(answered.wait, 20)

    asyncio.run(ask())


@dataclasses.dataclass
class Vault:
    """A provider of the usual kind: its text shows what it has."""

    token: str

    async def get(self, name: str) -> str | None:
        return None


def test_a_provider_of_your_own_is_named_by_its_class_alone() -> None:
    assert described(Vault("root-token")) == "the provider Vault"
    several = as_provider([Vault("root-token"), {"X": "given"}, lambda _: None])
    assert several is not None
    assert described(several).startswith("the provider Vault, the mapping that was given, the function ")
    assert described(EnvironmentSecrets()) == "the environment variables TREADLE_SECRET_*"


def test_nothing_is_no_provider_and_what_is_none_is_refused() -> None:
    assert as_provider(None) is None
    for wrong in ("TOKEN", 5, Own, b"x"):
        with pytest.raises(ValidationError, match="secrets are given as a provider"):
            as_provider(wrong)


def test_the_error_survives_pickling() -> None:
    error = pickle.loads(pickle.dumps(SecretError("X", "is not there", is_permanent=False)))
    assert (str(error), error.name, error.is_permanent) == ("secret 'X': is not there", "X", False)
