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
