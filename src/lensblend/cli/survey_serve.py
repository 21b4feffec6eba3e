"""``lensblend survey serve``: show a study to raters, and keep their answers."""

from __future__ import annotations

import argparse

from lensblend.cli.flags import path, shared
from lensblend.runs.messages import say
from lensblend.storage import check_writable


def parser() -> argparse.ArgumentParser:
    """Return the command line of this part."""
    part = argparse.ArgumentParser(
        prog="lensblend survey serve",
        parents=[shared()],
        description="Show a study to raters in their browsers, and keep each answer in the study's folder before it is "
        "acknowledged. Ctrl-C or SIGTERM stops; started again, raters go on where they were.",
        allow_abbrev=False,
    )
    part.add_argument("study", type=path, metavar="STUDY", help="a folder of `lensblend survey make`")
    part.add_argument("--port", type=_port, default=0, metavar="N", help="default: 0, any that is free")
    part.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="to listen at; default: 127.0.0.1, which only this machine reaches (0.0.0.0: everybody on the network)",
    )
    return part


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"is a whole number from 0 to 65535, but got {text!r}")
    return int(text)


def run(arguments: argparse.Namespace) -> None:
    """Serve until a signal comes."""
    from lensblend.survey.serving import LOOPBACK, Server, serve
    from lensblend.survey.study import read_key, read_study

    study = read_study(arguments.study)
    read_key(arguments.study, study)  # without it, answers would be for nothing
    check_writable(arguments.study)
    server = Server(arguments.study, study, arguments.host, arguments.port)
    if arguments.host not in LOOPBACK:
        say(
            f"Warning: whoever reaches {arguments.host} sees the images and can answer, over a connection that is not "
            "encrypted; stop when the study is over, or put a server with TLS before one on 127.0.0.1."
        )
    answers, raters = server.store.counts()
    say(f"{study.title}: {len(study.trials)} trials; {answers} answers of {raters} raters so far")
    if not arguments.port:
        say(f"Add --port {server.server_port} next time: browsers remember where a rater is by the address.")
    serve(server)
