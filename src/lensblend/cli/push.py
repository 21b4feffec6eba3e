"""``lensblend push``: a trained network, exported, and a card of it go to a repository on the Hugging Face hub."""

from __future__ import annotations

import argparse
import re
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lensblend
from lensblend.cli.export import add_card, card_of, card_page, write_safetensors
from lensblend.cli.flags import run_flags, shared
from lensblend.errors import RequestError
from lensblend.runs.messages import say

if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from lensblend.runs.checkpoints import Trained
    from lensblend.runs.hub import Address

FILE = "model.safetensors"
OF_AN_EXPORT = ("licence", "attributions", "f_number", "half")
# Of the hub's list, <https://huggingface.co/docs/hub/repositories-licenses>.
LICENCES = (
    *("apache-2.0", "mit", "bsd", "bsd-2-clause", "bsd-3-clause", "openrail", "unlicense", "mpl-2.0"),
    *("gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0"),
    *("cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0", "cc-by-sa-3.0", "cc-by-sa-4.0"),
    *("cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0", "cc-by-nc-nd-4.0"),
    *("cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0"),
)
PAGE = "README.md"
# The last line of a page that was written here. People who rewrite the page take it out.
OURS = "<!-- Written by `lensblend push`, which writes it anew each time; without this line it stays as it is. -->"
TASKS = {"disparity": "depth-estimation", "saliency": "image-segmentation"}  # of networks that render no bokeh


def parser() -> argparse.ArgumentParser:
    """Return the verb's command line."""
    verb = argparse.ArgumentParser(
        prog="lensblend push",
        parents=[shared()],
        description="Put a trained network into a repository on the Hugging Face hub, with a card of what its records "
        "say. Others render with it by its address: --model hf://OWNER/NAME.",
    )
    verb.add_argument(
        "model",
        metavar="RUN|FILE",
        help="a run's or phase's folder or a .ckpt, which are exported; a .safetensors file, as it is",
    )
    verb.add_argument(
        "address", metavar="hf://OWNER/NAME", help=f"the repository, with /FILE.safetensors in it (default: {FILE})"
    )
    verb.add_argument("--network", metavar="NAME", help="as of `lensblend export`: what a file of its authors holds")
    add_card(verb)
    verb.add_argument("--private", action="store_true", help="make the repository for you and those you let in")
    verb.add_argument("--message", metavar="TEXT", help="of the commit (default: the network's kind)")
    verb.add_argument("--revision", metavar="BRANCH", help="the branch, made where it is missing (default: main)")
    return verb


def push(arguments: argparse.Namespace) -> None:
    """Export the network, unless it is, and put it beside its card into the repository.

    Raises:
        RequestError: The address is none, there is no token, no licence, or the repository is not this user's to write.
        UnreachableError: The hub gives no answer.
    """
    from huggingface_hub import get_token

    from lensblend.cli.released import loader
    from lensblend.runs.checkpoints import find_checkpoint
    from lensblend.runs.hub import LOG_IN, UnreachableError, explained, parse_address
    from lensblend.runs.safetensors_files import SUFFIX

    address = parse_address(arguments.address)
    if address.revision is not None:
        raise RequestError(f"{address} names a revision; write --revision {address.revision} instead.")
    if arguments.message is not None and not arguments.message.strip():
        raise RequestError("`--message` is a text, but got ''; leave it out.")
    address = parse_address(str(replace(address, revision=arguments.revision)))
    if (token := get_token()) is None:
        raise RequestError(f"`lensblend push` needs a token of the hub's that may write: {LOG_IN}.")
    file = None if arguments.network else find_checkpoint(arguments.model)
    trained = loader(arguments.network)(arguments.model)
    with tempfile.TemporaryDirectory(prefix="lensblend-") as folder:
        if file is not None and file.suffix == SUFFIX:
            _check_as_it_is(trained, arguments)
            address = address if address.file else parse_address(f"{address}/{file.name}")
        else:
            _check_licence(trained, arguments)
            address = address if address.file else replace(address, file=FILE)
            file = arguments.output = Path(folder) / FILE
            write_safetensors(trained, arguments)
        page = _page(trained, card_of(trained, arguments), file, address)
        try:
            with explained(address):
                _upload(file, page, address, arguments, token, type(trained.network).__name__)
        except UnreachableError as error:
            raise UnreachableError(f"{error}; try again when it can be reached.") from None


def _check_as_it_is(trained: Trained, arguments: argparse.Namespace) -> None:
    for flag in OF_AN_EXPORT:
        if vars(arguments)[flag]:
            raise RequestError(
                f"`--{flag.replace('_', '-')}` would have no effect on {trained.path}, which is pushed as it is; leave "
                "it out, or write another file with it: lensblend export"
            )
    if not trained.card.get("licence"):
        raise RequestError(f"{trained.path} names no licence; write one into it: lensblend export ... --licence TEXT")


def _check_licence(trained: Trained, arguments: argparse.Namespace) -> None:
    if not (arguments.licence or trained.card.get("licence")):
        raise RequestError(f"{trained.path} names no licence of its weights; add --licence TEXT, such as 'CC BY 4.0'.")


def _page(trained: Trained, card: dict[str, Any], file: Path, address: Address) -> str:
    """Return the repository's page: what the hub's own header says, how to use it, and what the records say."""
    import yaml

    network = trained.network
    task = "image-to-image" if network.renders else TASKS[network.estimates[0]]
    header = {
        **licence_header(str(card["licence"])),
        "library_name": "lensblend",
        "pipeline_tag": task,
        "tags": ["bokeh", "depth-of-field", type(network).__name__],
    }
    use = {"Use": [("with lensblend", f"lensblend render PHOTO --model {address}")]}
    page = card_page(trained, card, file, address.name, use)
    return f"---\n{yaml.safe_dump(header, sort_keys=False)}---\n\n{page}\n{OURS}\n"


def licence_header(text: str) -> dict[str, str]:
    """Return how the hub is told a licence: by its own name for it, or as another that is called so.

    Example:
        >>> licence_header("CC BY-SA 4.0"), licence_header("My own, 2026")
        ({'license': 'cc-by-sa-4.0'}, {'license': 'other', 'license_name': 'my-own-2026'})
    """
    name = re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
    return {"license": name} if name in LICENCES else {"license": "other", "license_name": name or "unnamed"}


def _upload(file: Path, page: str, address: Address, arguments: argparse.Namespace, token: str, kind: str) -> None:
    """Make the repository and the branch where they are missing, commit both files, and say where they are.

    A page that somebody else wrote stays.
    """
    from huggingface_hub import CommitOperationAdd, HfApi

    from lensblend.runs.safetensors_files import SUFFIX

    api, repository = HfApi(token=token), address.repository
    api.create_repo(repository, private=arguments.private or None, exist_ok=True)
    if arguments.private and not api.model_info(repository).private:
        raise RequestError(
            f"hf://{repository} exists and is open to all; leave --private out, name another, or make it private at "
            f"{api.endpoint}/{repository}/settings."
        )
    if address.revision:
        api.create_branch(repository, branch=address.revision, exist_ok=True)
    kept = _has_other_page(api, address)
    say(f"{address}: sending {file.stat().st_size:,} bytes")
    commit = api.create_commit(
        repository,
        [
            CommitOperationAdd(str(address.file), str(file)),
            *([] if kept else [CommitOperationAdd(PAGE, page.encode())]),
        ],
        commit_message=arguments.message or f"{kind}, lensblend {lensblend.__version__}",
        revision=address.revision,
    )
    there = api.model_info(repository, revision=address.revision).siblings or ()
    alone = sum(sibling.rfilename.endswith(SUFFIX) for sibling in there) == 1
    name = replace(address, file=None) if alone else address
    sent = str(address.file) if kept else f"{address.file} and {PAGE}"
    say(f"{api.endpoint}/{repository}: {sent}, commit {commit.oid}")
    if kept:
        say(f"The {PAGE} there was not written by `lensblend push`, and stays; delete it there to have one written.")
    say(f"Render with it: --model {name}")


def _has_other_page(api: HfApi, address: Address) -> bool:
    """Tell whether the branch has a page that was not written here."""
    if not api.file_exists(address.repository, PAGE, revision=address.revision):
        return False
    with tempfile.TemporaryDirectory(prefix="lensblend-") as folder:
        page = api.hf_hub_download(address.repository, PAGE, revision=address.revision, local_dir=folder)
        return OURS not in Path(page).read_text("utf-8", errors="replace")


def main() -> None:
    """Run the verb and exit."""
    run_flags(parser(), push)


if __name__ == "__main__":
    main()
