"""``lensblend demo-app``: a page on this machine in which photos are rendered as ``lensblend render`` renders them."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lensblend.caches import VARIABLE
from lensblend.cli.app_sessions import MAPS, Sessions
from lensblend.cli.flags import run_flags, shared
from lensblend.errors import Interrupted, RequestError, StorageError
from lensblend.runs.messages import say

PORT = 7860
MEGAPIXELS = 24.0
QUEUE = 8
_BYTES_A_PIXEL = 8  # of a photo with four channels of 16 bits that nothing compresses
_OWN_NAMES = ("localhost", "127.0.0.1", "::1")
_LAST_WORDS = 3  # seconds that open connections are waited for
# Nothing leaves the machine; nothing is read but what was dropped.
_QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_MCP_SERVER": "False",
    "GRADIO_SSR_MODE": "False",
    "GRADIO_RUN_HISTORY": "False",
    "GRADIO_SHARE": "False",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend demo-app",
        parents=[shared()],
        description="Serve a page in which a photo is dropped, focused and rendered, by the same code as `lensblend "
        "render`. Nothing leaves this machine, and photos are deleted (docs/demo-app.md).",
    )
    verb.add_argument("-m", "--model", metavar="CHECKPOINT", help="what renders (default: the model in the box)")
    verb.add_argument(
        "--disparity",
        metavar="SOURCE",
        help="as of `lensblend render`: any point can then be clicked to be in focus, and a thin lens renders",
    )
    verb.add_argument("--device", default="auto", help="where a network computes: auto, cpu or cuda (default: auto)")
    verb.add_argument(
        "--host", default="127.0.0.1", help="the address to serve at (default: 127.0.0.1, for this machine alone)"
    )
    verb.add_argument("--port", type=_port, default=PORT, help=f"0 takes any that is free (default: {PORT})")
    verb.add_argument(
        "--max-megapixels",
        type=_number(0.01, 1000.0, float),
        default=MEGAPIXELS,
        metavar="N",
        help=f"refuse larger photos before they are read (default: {MEGAPIXELS:g})",
    )
    verb.add_argument(
        "--queue",
        type=_number(1, 1000, int),
        default=QUEUE,
        metavar="N",
        help=f"how many requests may wait; one photo is rendered at a time (default: {QUEUE})",
    )
    return verb


def _number(least: float | int, most: float | int, kind: Any) -> Any:
    """Return what reads a number within a range."""

    def read(text: str) -> Any:
        try:
            number = kind(text)
        except ValueError:
            number = least - 1
        if not least <= number <= most:
            what = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"is {what} from {least:g} to {most:g}, but got {text!r}")
        return number

    return read


_port = _number(0, 65535, int)


def demo_app(arguments: argparse.Namespace) -> None:
    """Load the model, and serve until a signal comes.

    Raises:
        RequestError: A package, the model or a source is missing, or the address cannot be served at.
        Interrupted: The signal has come, and all that was uploaded is deleted.
    """
    if find_spec("gradio") is None:
        raise RequestError("`lensblend demo-app` needs gradio, not installed here: pip install 'lensblend[app]'")
    from lensblend.runs.hub import fetched, is_address

    if is_address(arguments.model or ""):
        arguments.model = str(fetched(arguments.model))  # before the hub's client is told that it is offline
    with contextlib.ExitStack() as stack:
        stack.enter_context(_stopping())
        place = stack.enter_context(_listening(arguments.host, arguments.port))
        root = stack.enter_context(_root())
        # Maps of uploads go with them.
        os.environ |= {**_QUIET, "GRADIO_TEMP_DIR": str(root), VARIABLE: str(root / MAPS)}
        app = served(arguments, root)
        _run(app, place, arguments.host)


def served(arguments: argparse.Namespace, root: Path) -> Any:
    """Return the server's application.

    Args:
        arguments: Of the verb.
        root: A folder for uploads, which ``GRADIO_TEMP_DIR`` names.
    """
    from fastapi import FastAPI
    from gradio import mount_gradio_app

    from lensblend.cli.app_gate import Gate
    from lensblend.cli.app_page import CSS, page, theme
    from lensblend.cli.app_studio import Studio

    studio = Studio(arguments.model, arguments.disparity, arguments.device, arguments.max_megapixels)
    sessions = Sessions(root)
    blocks = page(studio, sessions, arguments.queue, _about(studio, arguments))
    app = mount_gradio_app(
        FastAPI(docs_url=None, redoc_url=None, openapi_url=None),
        blocks,
        path="/",
        allowed_paths=[],
        blocked_paths=[],
        footer_links=[],
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        enable_monitoring=False,
        show_error=False,
        max_file_size=int(arguments.max_megapixels * 1e6 * _BYTES_A_PIXEL) + 2**20,
        theme=theme(),
        css=CSS,
    )
    return Gate(app, sessions, {*_OWN_NAMES, arguments.host} if _is_own(arguments.host) else ())


def _about(studio: Any, arguments: argparse.Namespace) -> str:
    from lensblend.cli.photo_steps import model_name

    model = "the model in the box" if arguments.model is None else model_name(studio.trained)
    lens = ", and by a thin lens where you click" if studio.focuses else ""
    return (
        f"Photos up to {arguments.max_megapixels:g} megapixels, rendered by {model}{lens}. They stay on the machine "
        "that serves this page, and are deleted when you leave it."
    )


def _is_own(host: str) -> bool:
    return host in _OWN_NAMES or host.startswith("127.")


@contextlib.contextmanager
def _listening(host: str, port: int) -> Iterator[socket.socket]:
    """Open the server's socket before the model is read, which takes longer."""
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        place = socket.create_server((host, port), family=family)
    except OSError as error:
        # A name that is no address has no number of its own among the errors.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise RequestError(
            f"`--host {host} --port {port}` cannot be served at ({reason}); use --port 0 for any free port, or --host "
            "127.0.0.1."
        ) from error
    with place:
        yield place


@contextlib.contextmanager
def _root() -> Iterator[Path]:
    """Make a folder for uploads that is this user's alone, and delete it in the end."""
    try:
        root = tempfile.TemporaryDirectory(prefix="lensblend-app-", ignore_cleanup_errors=True)
    except OSError as error:
        raise StorageError(
            f"There is no folder for uploads ({error.strerror or error}); set TMPDIR to a folder that you may write to."
        ) from error
    with root as folder:
        yield Path(folder)


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Raise `Interrupted` for signals; uvicorn, which ends connections first, raises them again once it has."""

    def stop(number: int, _: Any) -> None:
        raise Interrupted(signal.Signals(number).name)

    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _run(app: Any, place: socket.socket, host: str) -> None:
    import uvicorn

    named = f"[{host}]" if ":" in host else host
    say(f"Open http://{named}:{place.getsockname()[1]} in a browser; Ctrl-C stops.")
    if not _is_own(host):
        say(f"Whoever reaches {host} can render here; there is no password.")
    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        limit_concurrency=128,
        timeout_graceful_shutdown=_LAST_WORDS,
    )

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: Any) -> None:
            # Pages that are open listen until they are cut off; that is no error.
            logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
            super().handle_exit(sig, frame)

    Server(config).run(sockets=[place])


def main() -> None:
    """Run the verb and exit; a rendering that still goes on is left where it is."""
    try:
        run_flags(parser(), demo_app)
    except Interrupted as stop:
        say(f"Stopped ({stop.signal}); what was uploaded is deleted.")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(stop.exit_code)


if __name__ == "__main__":
    main()
