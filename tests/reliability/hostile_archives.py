"""S4: archives with members that nobody may unpack, through `lensblend prepare data`."""

from __future__ import annotations

from collections.abc import Iterator

from preparation.test_archives import GOOD, HOSTILE, MAKERS
from reliability.children import call
from reliability.rows import Bench, Case, expect

# What the quick form tries: one of zip, one of tar.
QUICK = {("above", "zip"), ("through a link", "tar.gz")}
SECONDS = 60.0


def archives(bench: Bench) -> Iterator[Case]:
    """S4: each hostile member beside sound ones, as zip and as tar.gz."""
    for name, (members, says) in HOSTILE.items():
        for kind in ("zip", "tar.gz"):
            if not bench.full and (name, kind) not in QUICK:
                continue
            folder = bench.fresh(f"s4-{list(HOSTILE).index(name)}-{kind}").resolve()
            inside = folder / "inside"
            inside.mkdir(parents=True)
            archive = inside / f"set.{kind}"
            MAKERS[kind](archive, [*GOOD, *members])
            log = folder / "log"
            child = call("prepare", ["data", str(archive), "--output", str(inside / "out")], log)
            code, said = child.wait(SECONDS), child.output
            left = sorted(str(path.relative_to(inside)) for path in inside.rglob("*") if path != archive)
            yield Case(
                f"{name}, {kind}",
                expect(
                    (code == 1, f"exit code {code}"),
                    (says in said, f"does not say why; see {log}"),
                    (len(said.strip().splitlines()) <= 2, f"more than it takes to say so; see {log}"),
                    ("Traceback" not in said, f"a traceback; see {log}"),
                    (left == [], f"leaves {left}"),
                ),
            )
