"""``~`` in the paths people write: one rule, for every path of the command line."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import pytest
import typer
from typer.testing import CliRunner

from braindiffusion.cards import installed
from braindiffusion.cli.app import app
from braindiffusion.cli.options import Commands
from braindiffusion.io.paths import at_home
from braindiffusion.studies.sources import parse_methods

NOBODY = "~nobody-of-that-name"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home, with nothing in it."""
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def test_only_a_leading_tilde_is_the_home(home: Path) -> None:
    given = ["~", "~/a", Path("~/a/b"), "a/~", "/~/a", "", "a~"]
    expected = [home, home / "a", home / "a" / "b", Path("a/~"), Path("/~/a"), Path(), Path("a~")]
    assert [at_home(each) for each in given] == expected


def test_the_home_of_nobody_stays_as_it_is() -> None:
    assert at_home(f"{NOBODY}/a") == Path(NOBODY, "a")


@pytest.mark.skipif(os.name == "nt", reason="homes are looked up in another way")
def test_a_home_that_is_not_known_is_no_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account without an entry, as containers have."""
    import pwd

    def unknown(uid: int) -> None:
        raise KeyError(uid)

    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.delenv("BRAINDIFFUSION_MODELS", raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)
    assert at_home("~/a") == Path("~/a")
    assert "brain-mask" in installed()


def test_every_path_of_a_command_is_at_home(home: Path) -> None:
    commands, heard = Commands(), []

    @commands.command()
    def run(
        first: Path,
        out: Annotated[Path, typer.Option("--out")] = Path("~/results"),
        key: Annotated[Path | None, typer.Option()] = None,
        many: Annotated[list[Path] | None, typer.Option()] = None,
        text: Annotated[str, typer.Option()] = "",
    ) -> None:
        heard.extend([first, out, key, many, text])

    given = ["~/a", "--many=~/b", f"--many={NOBODY}/c", "--text=~/d"]
    assert CliRunner().invoke(commands, given).exit_code == 0
    assert heard == [home / "a", home / "results", None, [home / "b", Path(NOBODY, "c")], "~/d"]


def test_every_command_is_one_of_those() -> None:
    apps, found = [app], 0
    while apps:
        each = apps.pop()
        assert isinstance(each, Commands)
        found += len(each.registered_commands)
        apps += [group.typer_instance for group in each.registered_groups]
    assert found > 20


def test_a_method_s_folder_may_lie_at_home(home: Path) -> None:
    assert parse_methods(["~/a", "b=~/c"]) == {"a": home / "a", "b": home / "c"}
