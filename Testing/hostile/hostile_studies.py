"""Hostile study files: protocols, sealed studies, keys, answers, strata; and training recipes."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from hostile_case import Case, Check

JUNK = {
    "nothing": b"", "a bracket": b"{", "a list": b"[]", "a number": b"3", "null": b"null", "a text": b'"x"',
    "no unicode": b"\xff\xfe\x00", "brackets": b"[" * 100_000, "objects": b'{"a":' * 50_000, "a long number": b"9" * 9000,
    "NaN": b"NaN", "zeros": bytes(1000),
}  # fmt: skip
"""What is no file of ours, whatever is expected."""


# --- protocols and recipes ----------------------------------------------------------------------------------


def protocol(path: Path, out: Path) -> Any:
    """As ``study create`` reads it."""
    from braindiffusion.studies.protocol import load_protocol

    return load_protocol(path)


def recipe(path: Path, out: Path) -> Any:
    """As ``train`` reads it."""
    from braindiffusion.training.loop import load_recipe

    return load_recipe(str(path))


def strata(path: Path, out: Path) -> Any:
    """As ``study create --strata`` reads it."""
    from braindiffusion.studies.sources import read_strata

    return read_strata(path)


def content(data: bytes, name: str = "a.json") -> Callable[[Path], Path]:
    """A file of these bytes."""

    def make(folder: Path) -> Path:
        (folder / name).write_bytes(data)
        return folder / name

    return make


def changed(source: str, change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], Path]:
    """A shipped protocol or recipe (a path below the package), changed."""

    def make(folder: Path) -> Path:
        import braindiffusion

        data = json.loads((Path(braindiffusion.__file__).parent / source).read_text(encoding="utf-8"))
        change(data)
        (folder / "a.json").write_text(json.dumps(data))
        return folder / "a.json"

    return make


LIKERT, RECIPE = "studies/protocols/likert.json", "training/recipes/brain-mask.json"
VALUES: tuple[Any, ...] = (None, -1, 3.5, 10**400, "x", "../../x", [], {}, [[]], [None], True, "x" * 100_000)


def _texts() -> list[Case]:
    out = []
    for name, data in JUNK.items():
        out.append(Case("protocol", name, content(data), protocol, ("StudyProtocolError",)))
        out.append(Case("recipe", name, content(data), recipe, ("RecipeError",)))
        out.append(Case("strata", name, content(data, "a.csv"), strata, ("StudyError",), _no_strata))
    for field in ("show", "cases", "questions", "format"):
        for k, value in enumerate(VALUES):
            make = changed(LIKERT, lambda d, f=field, v=value: d.__setitem__(f, v))  # type: ignore[misc]
            out.append(Case("protocol", f"{field}, {k}", make, protocol, ("StudyProtocolError",)))
    for field in ("name", "version", "window", "repeats", "going_back", "break_every"):
        for k, value in enumerate(VALUES):
            make = changed(LIKERT, lambda d, f=field, v=value: d.__setitem__(f, v))  # type: ignore[misc]
            out.append(Case("protocol", f"{field}, {k}", make, protocol, ("StudyProtocolError",), _asks))
    out += [
        Case("recipe", "no task", changed(RECIPE, lambda d: d.pop("task")), recipe, ("RecipeError",)),
        Case("recipe", "a task that is a list", changed(RECIPE, lambda d: d.update(task=["x"])), recipe, ("RecipeError",)),
        Case("recipe", "a folder", lambda folder: folder, recipe, ("RecipeError",)),
        Case("recipe", "a folder called .json", _folder, recipe, ("RecipeError",)),
        Case("protocol", "a folder", lambda folder: folder, protocol, ("StudyProtocolError",)),
        Case("strata", "zero bytes in a row", content(b"name,stratum\na\0b,c\n", "a.csv"), strata, ("StudyError",), _strata),
        Case("strata", "a field of 1 MB", content(b"name,stratum\n" + b"x" * 1_000_000 + b",c\n", "a.csv"), strata, ("StudyError",)),
        Case("strata", "a quote without end", content(b'name,stratum\n"a,c\n' * 3, "a.csv"), strata, ("StudyError",), _strata),
        Case("strata", "one column", content(b"name\na\n", "a.csv"), strata, ("StudyError",)),
        Case("strata", "two strata for one", content(b"name,stratum\na,b\na,c\n", "a.csv"), strata, ("StudyError",)),
        Case("strata", "a folder", lambda folder: folder, strata, ("StudyError",)),
    ]  # fmt: skip
    return out


def _folder(folder: Path) -> Path:
    (folder / "a.json").mkdir()
    return folder / "a.json"


def _asks(found: Any) -> None:
    assert found.questions
    json.dumps(found.as_dict(), allow_nan=False)


def _strata(found: Any) -> None:
    assert all(isinstance(k, str) and isinstance(v, str) for k, v in found.items())


def _no_strata(found: Any) -> None:
    assert found == {}


# --- sealed studies -----------------------------------------------------------------------------------------


@cache
def made() -> Path:
    """A study with its key, read once to the end; made once."""
    import atexit

    import study_helpers

    from braindiffusion.studies.create import create_study
    from braindiffusion.studies.design import StudySettings
    from braindiffusion.studies.protocol import load_protocol

    folder = Path(tempfile.mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    real = study_helpers.scans(folder / "real", ("x", "y"), 0)
    method = study_helpers.scans(folder / "method", ("a", "b"), 1)
    settings = StudySettings(repeats=0, seed=1, face="keep")
    made = create_study(real, {"method": method}, load_protocol("realism"), folder / "S", settings)
    study_helpers.read(made.study, "R1", lambda *_: {"realism": 1})
    shutil.rmtree(real)
    shutil.rmtree(method)
    return folder


def sealed(damage: Callable[[Path], Any]) -> Callable[[Path], Path]:
    """A study, damaged."""

    def make(folder: Path) -> Path:
        shutil.copytree(made(), folder / "made")
        damage(folder / "made" / "S")
        return folder / "made" / "S"

    return make


def analyse(study: Path, out: Path) -> Any:
    """As ``study analyse`` reads it: study, key and answers, joined."""
    from braindiffusion.studies.format import default_key
    from braindiffusion.studies.readings import join
    from braindiffusion.studies.sealed import open_key, open_study, read_answers

    opened = open_study(study)
    key = open_key(default_key(study), opened)
    return join(opened, key, read_answers(opened))


def forge(
    change: Callable[[dict[str, Any]], Any], key: Callable[[dict[str, Any]], Any] | None = None
) -> Callable[[Path], None]:
    """Change study.json (and the key), and seal them again as a forger would; answers are taken out."""
    from braindiffusion.studies.format import default_key, seal_of, sha256_of

    def damage(study: Path) -> None:
        shutil.rmtree(study / "answers", ignore_errors=True)
        data, secret = json.loads((study / "study.json").read_text()), json.loads(default_key(study).read_text())
        change(data)
        secret["seal"] = seal_of(data)
        if key:
            key(secret)
        text = json.dumps(secret).encode()
        default_key(study).write_bytes(text)
        data["key_sha256"] = sha256_of(text)
        (study / "study.json").write_text(json.dumps(data))

    return damage


def answer(change: Callable[[dict[str, Any]], Any]) -> Callable[[Path], None]:
    """Change the first answer, and chain all lines again as a forger would."""

    def damage(study: Path) -> None:
        from braindiffusion.studies.format import sha256_of, sha256_of_file

        path = study / "answers" / "R1-001.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        change(next(r for r in records if r["kind"] == "answer"))
        chain = sha256_of_file(study / "study.json")
        for record in records:
            body = {k: v for k, v in record.items() if k != "chain"}
            text = json.dumps(body, sort_keys=True, separators=(",", ":"))
            chain = record["chain"] = sha256_of((chain + text).encode())
        path.write_text("".join(json.dumps(r, sort_keys=True, separators=(",", ":")) + "\n" for r in records))

    return damage


def _first(data: dict[str, Any]) -> dict[str, Any]:
    return next(iter(data["cases"].values()))["images"][0]


def _sealed() -> list[Case]:
    study, key, answers = ("StudyError",), ("StudyKeyError",), ("AnswersError",)
    listed: list[tuple[str, Callable[[Path], Any], tuple[str, ...], Check | None]] = [
        ("as it should be", lambda s: None, (), lambda readings: _count(readings, 4)),
        ("no answers", lambda s: shutil.rmtree(s / "answers"), (), lambda readings: _count(readings, 0)),
        ("no study.json", lambda s: (s / "study.json").unlink(), study, None),
        ("study.json is a folder", lambda s: ((s / "study.json").unlink(), (s / "study.json").mkdir()), study, None),
        ("a scan missing", lambda s: next(s.rglob("*.nii.gz")).unlink(), study, None),
        ("a scan changed", lambda s: next(s.rglob("*.nii.gz")).write_bytes(b"x"), study, None),
        ("no key", lambda s: (s.parent / "S-key.json").unlink(), key, None),
        ("the key changed", lambda s: (s.parent / "S-key.json").write_text("{}"), key, None),
        *((f"study.json is {name}", lambda s, d=data: (s / "study.json").write_bytes(d), study, None) for name, data in JUNK.items()),  # type: ignore[misc]
        *((f"answers are {name}", lambda s, d=data: (s / "answers" / "R1-001.jsonl").write_bytes(d + b"\n" + d + b"\n"), answers, lambda r: _count(r, 0)) for name, data in JUNK.items()),  # type: ignore[misc]
        *((f"{field} {value!r:.20}", forge(lambda d, f=field, v=value: d.__setitem__(f, v)), (*study, "StudyProtocolError"), None) for field in ("cases", "readers", "protocol", "format") for value in (None, 3, "x", [], [3], {"a": 3})),  # type: ignore[misc]
        ("a scan outside", forge(lambda d: _first(d).update(file="../S-key.json", sha256="0" * 64)), study, None),
        ("a scan of another's", forge(lambda d: _first(d).update(file="/etc/hostname")), study, None),
        ("a scan without end", forge(lambda d: _first(d).update(file="/dev/zero")), study, None),
        ("a scan that is a folder", forge(lambda d: _first(d).update(file=".")), study, None),
        ("a scan named by a number", forge(lambda d: _first(d).update(file=3)), study, None),
        ("a name of 5000 characters", forge(lambda d: _first(d).update(file="x" * 5000)), study, None),
        ("an order of numbers", forge(lambda d: d.update(readers={"R1": [1, 2]})), study, None),
        ("an order of lists", forge(lambda d: d.update(readers={"R1": [["a"]]})), study, None),
        ("an order that is text", forge(lambda d: d.update(readers={"R1": 3})), study, None),
        ("a key of another format", forge(lambda d: None, lambda k: k.update(format="x")), key, None),
        ("a key without a format", forge(lambda d: None, lambda k: k.pop("format")), key, None),
        ("a key without cases", forge(lambda d: None, lambda k: k.pop("cases")), key, None),
        ("a key of other cases", forge(lambda d: None, lambda k: k.update(cases={"x": 3})), key, None),
        ("a position of a billion", answer(lambda r: r.update(position=10**9)), answers, None),
        ("a position below 0", answer(lambda r: r.update(position=-1)), answers, None),
        ("a position that is true", answer(lambda r: r.update(position=True)), answers, None),
        *((f"seconds {value!r:.20}", answer(lambda r, v=value: r.update(seconds=v)), answers, None) for value in (-1, "x", None, [], float("nan"), float("inf"), 10**400, True)),  # type: ignore[misc]
        *((f"answers {value!r:.20}", answer(lambda r, v=value: r.update(answers=v)), answers, None) for value in (None, [], {}, {"realism": "x"}, {"realism": 10**400}, {"realism": [1]}, {"realism": {}}, {"other": 1})),  # type: ignore[misc]
        *((f"{field} {value!r:.20}", answer(lambda r, f=field, v=value: r.__setitem__(f, v)), answers, None) for field in ("tools", "window") for value in (3, "x", [1], {"zoom": "x"})),  # type: ignore[misc]
        *((f"{field} {value!r:.20}", answer(lambda r, f=field, v=value: r.__setitem__(f, v)), answers, None) for field in ("kind", "case") for value in ("x", 3, None, []) if field == "case"),
        ("a record of an unknown kind", answer(lambda r: r.update(kind="x")), (), lambda r: _count(r, 3)),  # type: ignore[misc]
        ("answers of a stranger", lambda s: (s / "answers" / "R9-001.jsonl").write_bytes(b"{}\n{}\n"), answers, None),
        ("a session missing", lambda s: (s / "answers" / "R1-001.jsonl").rename(s / "answers" / "R1-007.jsonl"), answers, None),
        ("a session number of 200 digits", lambda s: (s / "answers" / f"R1-{'9' * 200}.jsonl").write_bytes(b"{}\n{}\n"), answers, None),
        ("answers that are a folder", lambda s: (s / "answers" / "R1-002.jsonl").mkdir(), answers, None),
    ]  # fmt: skip
    if os.name == "posix":
        listed.append(("a scan that is a pipe", lambda s: (os.mkfifo(s / "p"), forge(lambda d: _first(d).update(file="p"))(s)), study, None))  # fmt: skip
        listed.append(("answers that are a pipe", lambda s: os.mkfifo(s / "answers" / "R1-002.jsonl"), answers, None))
    return [Case("study", name, sealed(damage), analyse, errors, check) for name, damage, errors, check in listed]


def _count(readings: Any, due: int) -> None:
    assert len(readings) == due, f"{len(readings)} readings"


def cases() -> list[Case]:
    """All of them."""
    return [*_texts(), *_sealed()]
