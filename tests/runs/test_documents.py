"""Plain values out of files of unknown origin: bounded, and never resolved."""

import datetime
import json

import pytest
import yaml

from lensblend.errors import DataError
from lensblend.runs.documents import check_plain, parse_yaml, read_json, read_yaml

PLAIN = {"a": [1, 2.5, None, True, "text", {"b": ["c", []]}], "d": {}, "e": "1e-3", "f": "über"}


def bomb(levels, width=9):
    """The billion laughs: each list holds the one before so many times."""
    lines = ["a0: &a0 [x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(lines)


def test_plain_values_come_as_they_were_written(tmp_path):
    (tmp_path / "x.yaml").write_text(yaml.safe_dump(PLAIN), encoding="utf-8")
    (tmp_path / "x.json").write_text(json.dumps(PLAIN), encoding="utf-8")
    assert read_yaml(tmp_path / "x.yaml") == read_json(tmp_path / "x.json") == PLAIN
    shared = parse_yaml("a: &x [1, 2]\nb: *x\nc: {<<: {d: 1}, e: 2}", "x")
    assert shared == {"a": [1, 2], "b": [1, 2], "c": {"d": 1, "e": 2}}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (bomb(9), "unfolds to more"),
        (bomb(3_000, width=1), r"unfolds to more|nested|damaged"),
        ("[" * 10_000 + "]" * 10_000, "unfolds to more"),
        ("{a: " * 3_000 + "1" + "}" * 3_000, "unfolds to more"),
        ("- " * 2_000 + "x", "unfolds to more"),
        ("a: &x [1, *x]", r"`\*x` stands within what it names"),
        ("a: *nothing", "damaged"),
        ("a: [1", "damaged"),
        ("\tx", "damaged"),
        ("a: !!python/object/apply:os.system [x]", "damaged"),
        ("a: !!python/name:os.system", "damaged"),
        ("a: !mine x", "damaged"),
        ("a: ${oc.env:HOME}", r"`a` is '\$\{oc.env:HOME\}'"),
        ("a: [{b: 'x ${y}'}]", r"`a\[0\].b` is"),
        ("${a}: 1", "keys are plain texts"),
        ("1: 2", "keys are plain texts"),
        ("? [a, b]\n: 1", "damaged|keys are plain texts"),
        ("a: 2026-11-28", "of type date"),
        ("a: !!binary aGVsbG8=", "of type bytes"),
        ("a: !!set {x, y}", "of type set"),
        ("x" * 2_000_000, "characters long"),
        ("[" + "1, " * 150_000 + "1]", "more than"),
        ("a: \x00", "damaged"),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_configuration_is_refused_in_one_line(text, says):
    with pytest.raises(DataError, match=says) as raised:
        parse_yaml(text, "x.yaml")
    assert "x" in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize("text", ["", "[", "{", "[" * 100_000, '{"a": NaN, "b": }', "\0", "1" * 10_000])
def test_json_is_bounded_alike(text, tmp_path):
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json"):
        read_json(tmp_path / "x.json")


def test_no_walk_through_a_document_takes_for_ever():
    shared = [0]
    for _ in range(60):
        shared = [shared, shared]
    cycle = {}
    cycle["a"] = cycle
    for document in (shared, cycle, [[0] * 1_000] * 1_000):
        with pytest.raises(DataError, match=r"more than|nested over"):
            check_plain(document, "x")


def test_what_somebody_typed_may_hold_interpolations():
    check_plain({"overrides": ["a=${b}"]}, "x", as_typed=True)
    with pytest.raises(DataError, match="of type date"):
        check_plain([datetime.date(2026, 1, 1)], "x", as_typed=True)
