"""Kill -9 at random moments: what each subject must leave behind, and that the next run goes through.

``python Testing/trust/kill_trials.py SUBJECT TRIALS SEED`` prints what was found as JSON. The subject is forked once
everything is imported, so that a trial costs what the work costs; its parent ends it after a random share of the time
the work takes. Needs os.fork.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import re
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
for _folder in (HERE.parent, HERE.parent / "engine", HERE.parents[1], HERE.parents[1] / "BrainReaderStudy"):
    sys.path.insert(0, str(_folder))


@dataclass
class Subject:
    """Work that is killed.

    Attributes:
        act: does it into a folder; ``version`` 1 or 2 makes other content under the same names.
        over: also killed while it replaces the files of an earlier run.
        check: further conditions on what a kill leaves; done: on what the next run makes of it.
        loose: names that may differ from those of an unhurt run; same: files that must be its very copies.
    """

    act: Callable[[Path, int], None]
    over: bool = True
    check: Callable[[Path], None] = field(default=lambda folder: None)
    done: Callable[[Path], None] = field(default=lambda folder: None)
    loose: str = "$"
    same: tuple[str, ...] = ()


def whole(path: Path) -> None:
    """Raises where a file is not complete."""
    if path.suffix == ".gz":
        gzip.decompress(path.read_bytes())
    elif path.suffix == ".json":
        json.loads(path.read_text(encoding="utf-8"))
    elif path.suffix == ".png":
        from PIL import Image

        with Image.open(path) as picture:
            picture.load()
    elif path.suffix == ".safetensors":
        from safetensors import safe_open

        with safe_open(str(path), "pt") as handle:
            assert [handle.get_tensor(name) for name in handle.keys()]  # noqa: SIM118 - not a dict
    elif path.suffix == ".dcm":
        import pydicom

        assert pydicom.dcmread(path).pixel_array.size
    elif path.suffix == ".npz":
        import numpy as np

        with np.load(path, allow_pickle=False) as arrays:
            assert [arrays[name] for name in arrays.files]
    elif path.suffix != ".jsonl":  # answers are appended: their readers pass over a torn last line
        assert path.read_bytes().endswith(b"\n"), path


def visible(folder: Path) -> dict[str, str]:
    """Digest of every file under its final name: nothing hidden, nothing in a hidden folder."""
    files = [p for p in folder.rglob("*") if p.is_file()]
    shown = [p for p in files if not any(part.startswith(".") for part in p.relative_to(folder).parts)]
    return {p.relative_to(folder).as_posix(): hashlib.sha256(content(p)).hexdigest() for p in shown}


def content(path: Path) -> bytes:
    """The bytes of a file; of weights without their header, whose order is none."""
    data = path.read_bytes()
    if path.suffix != ".safetensors":
        return data
    return data[8 + int.from_bytes(data[:8], "little") :]


def killed(work: Callable[[], None], seconds: float | None) -> bool:
    """Run it in a child that is killed after ``seconds``; whether it was killed before its end."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            with open(os.devnull, "w") as nothing:
                os.dup2(nothing.fileno(), 1)
                work()
            code = 0
        except BaseException:
            traceback.print_exc()
        os._exit(code)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and os.WEXITSTATUS(status):
        raise AssertionError("The work itself failed.")
    return os.WIFSIGNALED(status)


def trials(subject: Subject, count: int, seed: int, ground: Path) -> dict[str, Any]:
    """Kill the subject ``count`` times; raises AssertionError where it left what it must not."""
    rng = random.Random(seed)
    expected = {}
    for version in (1, 2) if subject.over else (1,):
        began = time.monotonic()
        killed(lambda v=version: subject.act(ground / f"whole{v}" / "out", v), None)
        took = time.monotonic() - began
        expected[version] = visible(ground / f"whole{version}")
    dead = partly = 0
    for n in range(count):
        folder = ground / f"trial{n}"
        out = folder / "out"
        over = subject.over and n % 2 == 1
        if over:
            killed(lambda to=out: subject.act(to, 1), None)
        before = visible(folder)
        was_killed = killed(lambda to=out, v=1 + over: subject.act(to, v), rng.uniform(0.0, 1.05 * took))
        dead += was_killed
        after = visible(folder)
        partly += was_killed and 0 < len(set(after)) < len(expected[1])
        for name in after:
            whole(folder / name)
        record = "out/provenance.json"
        if over and record in after:  # a record tells of the files beside it: all of one run
            changed = [name for name in after if name in before and after[name] != before[name]]
            assert not changed or after[record] != before[record], changed
        subject.check(out)
        killed(lambda to=out, v=1 + over: subject.act(to, v), None)
        final = visible(folder)
        unhurt = expected[1 + over]
        strange = [name for name in set(final) ^ set(unhurt) if not re.match(subject.loose, name)]
        assert not strange, strange
        assert all(final[name] == unhurt[name] for name in subject.same)
        subject.done(out)
        for name in final:
            whole(folder / name)
        left = [p.name for p in (*folder.iterdir(), *out.iterdir()) if p.name.startswith(".braindiffusion-")]
        assert not left, left
    return {"trials": count, "killed": dead, "partly": partly, "seconds": round(took, 2)}


# --- the subjects ---------------------------------------------------------------------------------------------


def _scan() -> tuple[Any, Any, Any]:
    """A small head, a lesion in it and its brain."""
    import numpy as np

    from braindiffusion.volume.scan import Scan

    shape = (40, 44, 10)
    axes = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape), indexing="ij")
    brain = sum((a / 0.8) ** 2 for a in axes) < 1
    lesion = sum((a - 0.2) ** 2 for a in axes) < 0.03
    voxels = np.random.default_rng(0).normal(400, 20, shape) * brain + 300 * lesion
    affine = np.diag([-4.0, 4.0, 12.0, 1.0])
    return Scan(voxels.astype(np.int16), affine, "FLAIR", {"path": "small", "format": "test"}), lesion, brain


def heal(models: Path) -> Subject:
    """``braindiffusion heal`` with a drawn mask."""
    from healing_models import add_model

    from braindiffusion.cli.app import heal_and_write
    from braindiffusion.cli.options import ProgressKind, ResultFormat
    from braindiffusion.settings import HealSettings

    add_model(models, "flair-healthy-128", 64)
    scan, lesion, brain = _scan()

    def act(out: Path, version: int) -> None:
        settings = HealSettings(model="flair-healthy-128", steps=3, seed=version, device="cpu", precision="fp32")
        heal_and_write(scan, settings, lesion, brain, out, ResultFormat.nifti, ProgressKind.none)

    return Subject(act, same=("out/counterfactual.nii.gz",))


def induce(models: Path) -> Subject:
    """``braindiffusion induce`` of a drawn lesion."""
    from lesion_models import add_lesion_model

    from braindiffusion.cli.induce import induce_and_write
    from braindiffusion.cli.options import ProgressKind, ResultFormat
    from braindiffusion.settings import InduceSettings

    add_lesion_model(models)
    scan, lesion, brain = _scan()

    def act(out: Path, version: int) -> None:
        settings = InduceSettings(
            method="mededit", model="lesion-128", steps=2, resamples=1, seed=version, device="cpu", precision="fp32"
        )
        induce_and_write(scan, lesion, settings, brain, out, ResultFormat.nifti, ProgressKind.none)

    return Subject(act, same=("out/diseased.nii.gz",))


def export(models: Path) -> Subject:
    """A healing written as DICOM."""
    from healing_models import add_model

    from braindiffusion.export.results import write_result
    from braindiffusion.pipeline.heal import heal_scan
    from braindiffusion.settings import HealSettings

    add_model(models, "flair-healthy-128", 64)
    scan, lesion, brain = _scan()
    settings = HealSettings(model="flair-healthy-128", steps=2, device="cpu", precision="fp32")
    result = heal_scan(scan, settings, mask=lesion, brain=brain)
    return Subject(lambda out, version: write_result(out, scan, result, "dicom") if not out.exists() else None, False)


def train(models: Path) -> Subject:
    """``braindiffusion train --resume`` of a tiny recipe, with a report at every iteration."""
    from tiny_training import recipe, write_pack

    from braindiffusion.models.registry import sha256_of
    from braindiffusion.training.loop import train as run

    data = Path(tempfile.mkdtemp(dir=models))
    write_pack(data / "tiny.npz")

    def act(out: Path, version: int) -> None:
        out.parent.mkdir(parents=True, exist_ok=True)
        given = recipe("autoencoder", seed=1)
        list(run(given, data, out, resume=True, iterations=3, report_every_s=0.0, device="cpu", threads=1))

    def done(out: Path) -> None:  # a kill between weights and card leaves a pair that does not load: mended here
        assert json.loads((out / "tiny.json").read_text())["sha256"] == sha256_of(out / "tiny.safetensors")

    # the averaged weights are those of the run that was never killed, bit for bit; a figure may be missing
    return Subject(act, False, done=done, loose=r"out/figure-\d+\.png", same=("out/tiny.safetensors",))


def study(models: Path) -> Subject:
    """``braindiffusion study create``; its key lies beside it."""
    import study_helpers

    from braindiffusion.studies.create import create_study
    from braindiffusion.studies.design import StudySettings
    from braindiffusion.studies.protocol import load_protocol

    base = Path(tempfile.mkdtemp(dir=models))
    real = study_helpers.scans(base / "real", ("r0", "r1", "r2"), 0)
    painted = study_helpers.scans(base / "painted", ("s0", "s1", "s2"), 1, lesion=True)
    settings = StudySettings(repeats=0, seed=1, readers=("R1",), face="keep")

    def act(out: Path, version: int) -> None:
        if not out.exists():  # a study is sealed once
            create_study(real, {"mededit": painted}, load_protocol("realism"), out, settings)

    def check(out: Path) -> None:
        key = out.with_name("out-key.json")
        assert key.is_file() or not out.exists(), "a study without its key is lost"
        if key.is_file() and not out.exists():
            key.unlink()  # what the refusal asks for

    return Subject(act, False, check)


def answers(models: Path) -> Subject:
    """A reader's sitting: what was told to be saved is there, and the next sitting goes on behind it."""
    from BrainReaderStudyLib.session import Session, openStudy
    from reader_study import answers as given
    from reader_study import make_study

    template = make_study(Path(tempfile.mkdtemp(dir=models)), cases=12)

    def act(out: Path, version: int) -> None:
        import shutil

        if not out.exists():  # handing the study out is not what is tried
            out.parent.mkdir(parents=True, exist_ok=True)
            shutil.rmtree(out.with_name(".copy"), ignore_errors=True)
            shutil.copytree(template, out.with_name(".copy")).rename(out)
        session = Session(openStudy(out), "R1", "kill trials")
        while not session.finished:
            session.shown()
            session.record({"realism": session.answered % 5})
            with (out.parent / ".told").open("a") as told:
                told.write("x")
            time.sleep(0.005)

    def check(out: Path) -> None:
        told = len((out.parent / ".told").read_text()) if (out.parent / ".told").exists() else 0
        if out.exists():
            assert len(given(out)) >= told
            assert [a["position"] for a in given(out)] == list(range(1, len(given(out)) + 1))

    def done(out: Path) -> None:
        assert [a["position"] for a in given(out)] == list(range(1, 13))

    return Subject(act, False, check, done, loose=r"out/answers/")


SUBJECTS = {f.__name__: f for f in (heal, induce, export, train, study, answers)}


def main(name: str, count: int, seed: int) -> dict[str, Any]:
    """Trials of one subject, in a folder of their own."""
    import torch

    torch.set_num_threads(1)  # a process with threads of its own must not be forked
    with tempfile.TemporaryDirectory() as ground:
        models = Path(ground) / "models"
        models.mkdir()
        os.environ["BRAINDIFFUSION_MODELS"] = str(models)
        subject = SUBJECTS[name](models)
        return trials(subject, count, seed, Path(ground))


if __name__ == "__main__":
    print(json.dumps(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
