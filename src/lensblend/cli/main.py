"""The ``lensblend`` command: it becomes the program of one verb."""

from __future__ import annotations

import os
import runpy
import sys

from lensblend.cli.completion import asked, complete
from lensblend.cli.surroundings import safe_environment, safe_path, settle
from lensblend.errors import nearest
from lensblend.runs.extensions import verbs

VERBS = {
    "train": "train a network phase by phase (Hydra overrides)",
    "evaluate": "score a checkpoint, or a folder of renderings (Hydra overrides)",
    "render": "render bokeh into photos with a trained network",
    "compare": "set finished runs side by side: tables with intervals, the paper's tables, a page of pictures",
    "runs": "list the runs below a folder, remove runs, or what they can do without",
    "survey": "ask people how close renderings are to the camera's photos, and score their answers",
    "export": "write a trained network as one file to be handed on (safetensors, ONNX)",
    "push": "put a trained network and its card on the Hugging Face hub",
    "prepare": "align captures, bring data sets into one layout, check every file",
    "bench": "measure seconds, memory and operations of networks, or where a training's time goes",
    "demo": "train and evaluate on embedded data and render photos, in minutes",
    "demo-app": "serve a page in which photos are dropped, focused and rendered",
    "completion": "print what bash, zsh or fish reads to complete all of this",
}


def usage() -> str:
    """Return what ``lensblend --help`` prints."""
    listed = {**VERBS, **{verb: f"{module} (yours)" for verb, module in verbs().items() if verb not in VERBS}}
    lines = "\n".join(f"  {verb:<12}{what}" for verb, what in listed.items())
    return (
        "usage: lensblend VERB ...\n\nSingle-image bokeh: train, compare and ship the networks that render it.\n\n"
        f"{lines}\n\n"
        "`lensblend VERB --help` explains each. Exit codes: 0 done, 1 the work failed, 2 the request was wrong, "
        "143 stopped by a signal.\n"
    )


def main() -> None:
    """Replace this process by the verb's, so that its command line can start it again (DDP, sweeps)."""
    settle()
    arguments = sys.argv[1:]
    if arguments in (["-h"], ["--help"]):
        print(usage(), end="")
        sys.exit(0)
    if arguments == ["--version"]:
        from lensblend import __version__

        print(f"lensblend {__version__}")
        sys.exit(0)
    if (action := asked(arguments)) is not None:
        complete(action, [*VERBS, *verbs()])
        return
    modules = {verb: f"lensblend.cli.{verb.replace('-', '_')}" for verb in VERBS}
    if not arguments or arguments[0] not in VERBS:
        modules = verbs() | modules
    if not arguments or arguments[0] not in modules:
        said = f"`{arguments[0]}` is not a verb" if arguments else "A verb is missing"
        sys.stderr.write(f"{said}{nearest(arguments[0] if arguments else '', list(modules))}\n\n{usage()}")
        sys.exit(2)
    if arguments[0] not in VERBS:
        # Here, where packages in the current folder can be found: Python would look there first or not at all.
        sys.argv = arguments
        runpy.run_module(modules[arguments[0]], run_name="__main__", alter_sys=True)
        return
    sys.stdout.flush()
    command = [sys.executable, *safe_path(), "-m", modules[arguments[0]], *arguments[1:]]
    os.execve(sys.executable, command, safe_environment())


if __name__ == "__main__":
    main()
