"""The commands that README and docs tell people to type."""

import re
import shlex

# Of the example package, of a plugin that is not installed, or of the reader.
NOT_OURS = (
    *("experiment=lights", "experiment=bright_things", "model=halves", "kernels=rings", "--config-dir my-conf"),
    *("lensblend draw", "lensblend phases", "lensblend VERB", "GROUP=OPTION", "hydra/launcher=ray"),
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
