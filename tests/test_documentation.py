"""What README and docs tell people to type is understood as it stands there."""

import importlib
import re
import shlex
from pathlib import Path

import hydra
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from lensblend.cli.arguments import as_meant
from lensblend.cli.config import config_folder, register
from lensblend.cli.main import VERBS
from lensblend.cli.presets import sweeps_folder

CHECKOUT = Path(__file__).parents[1]
PAGES = [CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]
PAGES = [page for page in PAGES if not {"_build", "generated"} & set(page.parts)]
# Verbs with parts; all others have one command line.
PARTS = {"prepare", "survey", "bench"}
# Of the example package, or of the reader.
NOT_OURS = (
    *("experiment=lights", "experiment=bright_things", "model=halves", "kernels=rings", "--config-dir my-conf"),
    *("lensblend draw", "lensblend phases", "lensblend VERB", "GROUP=OPTION"),
)


def commands(text):
    """The commands in a page's blocks of shell, each as its words."""
    for block in re.findall(r"```bash\n(.*?)```", text, re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.search(r"(?:^|\s)(?:\.venv/bin/)?lensblend (?=[a-z-])(.*)", line)
            if found and not any(foreign in line for foreign in NOT_OURS):
                words = shlex.split(found[1], comments=True)
                end = next((i for i, word in enumerate(words) if word in {"<", ">", "|", "&&"}), len(words))
                yield [word for word in words[:end] if word not in {"...", "…"}]


EVERY = [
    (page.relative_to(CHECKOUT).as_posix(), words) for page in PAGES for words in commands(page.read_text("utf-8"))
]


def composed(verb, overrides):
    """Compose a request as Hydra does; of a sweep its first job."""
    flags = {"--multirun", "-m"}
    words = [word for word in as_meant(overrides) if word not in flags]
    sweeps = [word.partition("=")[2] for word in words if word.startswith("+sweep=")]
    assert all((sweeps_folder() / f"{name}.yaml").is_file() for name in sweeps)
    first = []
    for override in OverridesParser.create().parse_overrides([w for w in words if not w.startswith("+sweep=")]):
        key = override.input_line.partition("=")[0]
        if override.is_sweep_override():
            first.append(f"{key}={next(iter(override.sweep_string_iterator()))}")
        else:
            first.append(override.input_line)
    register()
    with hydra.initialize_config_dir(str(config_folder()), version_base="1.3"):
        hydra.compose(verb, overrides=first, return_hydra_config=True)


def parsed(verb, words):
    """Parse flags as the verb does."""
    module = f"lensblend.cli.{verb.replace('-', '_')}"
    if verb == "compare" and "--depth" in words:
        module = f"{module}_depth"
    if verb in PARTS and words and not words[0].startswith("-"):
        part = f"{module}_{words[0]}"
        if importlib.util.find_spec(part) is not None:
            module, words = part, words[1:]
        elif verb == "bench" and words[0] == "training":
            composed("train", [w for w in words[1:] if "=" in w])
            return
    importlib.import_module(module).parser().parse_args(words)


def test_there_are_commands_of_every_verb():
    assert {words[0] for _, words in EVERY} >= set(VERBS) - {"demo"}
    assert len(EVERY) > 100


@pytest.mark.parametrize("page", sorted({page for page, _ in EVERY}))
def test_what_a_page_says_to_type_is_understood(page, capsys):
    for verb, *words in [words for at, words in EVERY if at == page]:
        try:
            composed(verb, words) if verb in {"train", "evaluate"} else parsed(verb, words)
        except (Exception, SystemExit) as error:
            pytest.fail(f"lensblend {verb} {shlex.join(words)}\n{error}\n{capsys.readouterr().err}")
