"""What the tab key completes: asked of the code for every verb, and typed in real shells."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lensblend.cli.completion import COMPOSED, FLAGGED, PARTED, complete
from lensblend.cli.completion_scripts import SCRIPTS
from lensblend.cli.main import VERBS

BIN = Path(sys.executable).parent
# What is typed before the tab key is hit, and what stands there then.
TYPED = {
    "lensblend evalu": "lensblend evaluate",
    "lensblend runs cl": "lensblend runs clean",
    "lensblend render --form": "lensblend render --format",
    "lensblend train schedule.every_phase.batch_s": "lensblend train schedule.every_phase.batch_size=",
    "lensblend train data=emb": "lensblend train data=embedded",
    "lensblend render pho": "lensblend render photo.jpg",
}


@pytest.fixture
def offered(monkeypatch, capsys):
    """What is offered at the end of a line, where Hydra is not asked."""

    def offer(line):
        monkeypatch.setenv("COMP_LINE", line)
        complete("query=bash", VERBS)
        return capsys.readouterr().out.split()

    return offer


def test_every_verb_is_completed_in_one_of_the_ways():
    assert sorted([*COMPOSED, *PARTED, *FLAGGED]) == sorted(VERBS)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("lensblend ru", ["runs"]),
        ("lensblend  ru", ["runs"]),
        ("lensblend prepare al", ["align"]),
        ("lensblend survey ", ["make", "serve", "score", "export"]),
        ("lensblend survey make --lev", []),
        ("lensblend runs ", ["rm", "clean"]),
        ("lensblend runs --so", ["--sort"]),
        ("lensblend runs --sort s", ["size", "ssim"]),
        ("lensblend runs outputs ", []),
        ("lensblend runs rm --y", ["--yes"]),
        ("lensblend runs clean outputs --only l", ["last"]),
        ("lensblend export RUN --format o", ["onnx"]),
        ("lensblend push RUN --pri", ["--private"]),
        ("lensblend compare --depth x --tru", ["--truth"]),
        ("lensblend render --output --o", ["--output", "--overwrite"]),
        ("lensblend render photo.jpg ", []),
        ("lensblend train --multi", ["--multirun"]),
        ("lensblend evaluate --al", ["--allow"]),
        ("lensblend completion ", ["bash", "zsh", "fish"]),
        ("lensblend none --x", []),
    ],
)
def test_verbs_parts_flags_and_their_values_are_offered(offered, line, words):
    assert offered(line) == words


def completed(shell, lines, folder):
    """Type lines in a shell, hit the tab key after each, and return what then stands there."""
    (folder / "photo.jpg").touch()
    starts = {"bash": ["--norc", "--noprofile", "-i"], "zsh": ["-f", "-i"]}[shell]
    environment = {"PATH": os.pathsep.join([str(BIN), os.environ["PATH"]]), "HOME": str(folder), "TERM": "dumb"}
    environment |= {name: value for name, value in os.environ.items() if name in ("PYTHONPATH", "LENSBLEND_CACHE")}
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [shell, *starts],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        cwd=folder,
        start_new_session=True,
    )
    os.close(theirs)
    said = ""

    def after(typed, mark):
        nonlocal said
        os.write(ours, typed.encode())
        begin, end = len(said), time.monotonic() + 60
        while not (found := re.search(rf"^{mark}(.*?)\r?$", said[begin:], re.M)):
            if time.monotonic() > end or not select.select([ours], [], [], 60)[0]:
                pytest.fail(f"{shell} did not answer to {typed!r}:\n{said}")
            said += os.read(ours, 65536).decode(errors="replace")
        return found[1]

    try:
        ready = {
            "bash": "PS1=; bind 'set enable-bracketed-paste off'",
            "zsh": "PS1=; PS2=; unsetopt zle_bracketed_paste",
        }
        bindings = {"bash": "true", "zsh": "bindkey -e; unsetopt prompt_sp prompt_cr"}
        after(
            f'{ready[shell]} 2>/dev/null; {bindings[shell]}; eval "$(lensblend completion {shell})"; echo RE""ADY\n',
            "READY",
        )
        # The line is told by `echo`, put before it; ctrl-A goes there.
        return [after(f"{line}\t\x01echo GOT:\x05:\n", "GOT:").removesuffix(":").strip() for line in lines]
    finally:
        process.kill()
        process.wait()
        os.close(ours)


@pytest.mark.parametrize("shell", ["bash", pytest.param("zsh", marks=pytest.mark.slow)])
def test_the_tab_key_completes_in_a_real_shell(shell, tmp_path):
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    assert completed(shell, TYPED, tmp_path) == list(TYPED.values())


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("fish") is None, reason="fish is not installed")
def test_fish_completes(tmp_path):
    (tmp_path / "photo.jpg").touch()
    (tmp_path / "script.fish").write_text(SCRIPTS["fish"])
    asks = "\n".join(f"complete -C '{line}' | head -n 1" for line in TYPED)
    command = ["fish", "--no-config", "-c", f"source script.fish\n{asks}"]
    environment = {**os.environ, "PATH": os.pathsep.join([str(BIN), os.environ["PATH"]])}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    offered = [line.split("\t")[0] for line in done.stdout.splitlines()]
    assert offered == [line.rsplit(" ", 1)[1] for line in TYPED.values()], done.stderr
