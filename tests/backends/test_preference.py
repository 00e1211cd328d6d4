"""Who is asked, by whose word: the block `use`, the environment, and what a thread takes along."""

from __future__ import annotations

import threading

import pytest

from ssm_backends import ArgumentError, use
from ssm_backends.front.preference import Order, order_for, under_this_use, wishes


@pytest.fixture(autouse=True)
def nothing_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("SSM_BACKENDS", "SSM_BACKENDS_FALLBACK"):
        monkeypatch.delenv(variable, raising=False)


def asked(backend: str | None = None) -> Order:
    return order_for("selective_scan", "torch", "cpu", backend)


def test_a_block_within_another_says_only_what_it_says() -> None:
    with use("one", "two", fallback="error"):
        with use("three"):
            assert asked() == Order(("three",), "`use`", "error")
        with use(fallback="warn"):
            assert asked() == Order(("one", "two"), "`use`", "warn")
        with use():
            assert asked() == Order(("one", "two"), "`use`", "error")
        assert asked("four") == Order(("four",), "the argument `backend`", "error")
    assert asked().fallback == "warn"
    assert not asked().named


@pytest.mark.parametrize(
    ("given", "names"), [("one", ("one",)), (" one, two ,", ("one", "two")), ("", None), (" , ", None)]
)
def test_the_environment_names_backends_with_commas(
    monkeypatch: pytest.MonkeyPatch, given: str, names: tuple[str, ...] | None
) -> None:
    builtin = asked()
    monkeypatch.setenv("SSM_BACKENDS", given)
    assert asked() == (Order(names, "SSM_BACKENDS of the environment", "warn") if names else builtin)


def test_an_empty_variable_says_nothing_and_another_word_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSM_BACKENDS_FALLBACK", "")
    assert asked().fallback == "warn"
    monkeypatch.setenv("SSM_BACKENDS_FALLBACK", "never")
    with pytest.raises(
        ArgumentError, match="`SSM_BACKENDS_FALLBACK` must be one of warn, error; got 'never'"
    ):
        asked()
    with use("one", fallback="warn"):
        assert asked().fallback == "warn"  # the block's word comes first


@pytest.mark.parametrize("variable", ["SSM_BACKENDS", "SSM_BACKENDS_FALLBACK"])
def test_what_was_settled_under_one_environment_is_asked_again_under_another(
    monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    before = wishes()
    monkeypatch.setenv(variable, "error")
    assert wishes() != before


def test_a_block_that_is_left_by_an_error_is_over() -> None:
    before = wishes()
    with pytest.raises(ZeroDivisionError), use("one"):
        raise ZeroDivisionError
    with pytest.raises(ArgumentError, match="`fallback` must be one of warn, error; got 'never'"):
        use("one", fallback="never").__enter__()  # type: ignore[arg-type]  # the point of the test
    assert wishes() == before


def test_what_is_called_later_asks_as_it_would_have_now() -> None:
    outside = under_this_use(asked)
    with use("one", fallback="error"):
        within = under_this_use(asked)
        assert not outside().named
        assert asked() == Order(("one",), "`use`", "error")  # it was put back
    found: list[Order] = []
    thread = threading.Thread(target=lambda: found.extend([asked(), within(), asked()]))
    thread.start()
    thread.join()
    assert [order.names == ("one",) for order in found] == [False, True, False]
    assert asked() == outside()


def test_what_raises_later_leaves_no_wish_behind() -> None:
    def broken() -> None:
        raise ZeroDivisionError

    with use("one"):
        within = under_this_use(broken)
    before = wishes()
    with pytest.raises(ZeroDivisionError):
        within()
    assert wishes() == before
