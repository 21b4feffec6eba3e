"""The command itself: its verbs, and completion."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from lensblend.cli.main import VERBS


def test_help_lists_every_verb(lensblend):
    done = lensblend("--help")
    assert done.code == 0
    assert all(verb in done.out for verb in VERBS)


@pytest.mark.parametrize(("arguments", "said"), [(["trian"], "did you mean `train`"), ([], "A verb is missing")])
def test_a_wrong_verb_is_answered_with_the_nearest(lensblend, arguments, said):
    done = lensblend(*arguments)
    assert done.code == 2
    assert said in done.err


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself(lensblend, verb):
    done = lensblend(verb, "--help")
    assert done.code == 0
    assert "Traceback" not in done.err
    assert len(done.out) > 100


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_verbs_and_their_configurations():
    """In a real bash: the set-up registers the command itself, not python, also as `lensblend train` gives it."""
    script = """
        eval "$(lensblend train -sc install=bash)"
        complete -p lensblend
        for COMP_LINE in "lensblend tr" "lensblend train data=e" "lensblend evaluate score" \\
                         "lensblend render a.jpg --over" "lensblend render --format t" \\
                         "lensblend bench --bas"; do
            COMP_POINT=${#COMP_LINE}; words=($COMP_LINE); COMP_CWORD=$((${#words[@]} - 1))
            hydra_bash_completion
            echo "${COMPREPLY[@]}"
        done
    """
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["bash", "-c", script], env={**os.environ, "PATH": path}, capture_output=True, text=True, check=True
    )
    registered, *offered = done.stdout.splitlines()
    assert registered.endswith("hydra_bash_completion lensblend"), done.stderr
    assert offered == ["train", "data=ebb data=embedded", "score_at=", "--overwrite", "tiff", "--baseline"]
