"""Negotiation of content codings: the table of examples, and what holds for every header."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wdasync.integrations.negotiation import (
    ALIASES,
    EXAMPLES,
    IDENTITY,
    Example,
    choose,
    parse_accept_encoding,
)

CODINGS = ["gzip", "br", "zstd", "deflate"]
WEIGHTS = ["", ";q=0", ";q=0.0", ";q=0.001", ";q=0.5", "; Q=0.50", " ; q=1", ";q=1.000"]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: repr(example.field))
def test_examples(example: Example) -> None:
    values = [] if example.field is None else [example.field.encode()]
    assert choose(parse_accept_encoding(values), example.offered) == example.chosen


def test_the_lines_of_a_field_are_one_list() -> None:
    assert choose(parse_accept_encoding([b"gzip;q=0", b"br;q=0.1, identity;q=0"]), ("gzip", "br")) == "br"


def weight_of(text: str) -> float:
    return float(text.partition("=")[2] or 1)


#: A loaded machine breaks no test.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
elements = st.tuples(st.sampled_from([*CODINGS, "identity", "*", "x-gzip"]), st.sampled_from(WEIGHTS))
offers = st.lists(st.sampled_from(CODINGS), unique=True)


@patient
@given(st.lists(elements, unique_by=lambda element: ALIASES.get(element[0], element[0])), offers)
def test_against_the_rules_in_other_words(named: list[tuple[str, str]], offered: Sequence[str]) -> None:
    field = ",".join(coding + weight for coding, weight in named)
    said = {ALIASES.get(coding, coding): weight_of(weight) for coding, weight in named}
    wanted = {coding: said.get(coding, said.get("*", 0.0)) for coding in offered}
    identity = said.get(IDENTITY, said.get("*"))
    chosen = choose(parse_accept_encoding([field]), offered)
    best = max(wanted.values(), default=0.0)
    if best > 0 and (identity is None or identity <= best):
        assert chosen == next(coding for coding in offered if wanted[coding] == best)
    else:
        assert chosen == (None if identity == 0 else IDENTITY)


@patient
@given(st.lists(st.binary(max_size=60)), offers)
def test_any_bytes_are_read(lines: list[bytes], offered: Sequence[str]) -> None:
    preferences = parse_accept_encoding(lines)
    assert choose(preferences, offered) in (*offered, IDENTITY, None)
    assert all(0 <= weight <= 1000 for weight in preferences.weights.values())


@patient
@given(st.text(st.characters(max_codepoint=255), max_size=20), offers)
def test_a_coding_is_chosen_only_if_it_is_named(text: str, offered: Sequence[str]) -> None:
    """Substrings and look-alikes are something else."""
    chosen = choose(parse_accept_encoding([text.encode("latin-1")]), offered)
    if chosen not in (None, IDENTITY):
        tokens = [part.partition(";")[0].strip(" \t").lower() for part in text.split(",")]
        assert "*" in tokens or chosen in [ALIASES.get(token, token) for token in tokens]


@pytest.mark.parametrize("weight", ["2", "-1", "1.001", "0.1234", "00", ".5", "0,5", "", "1e0", "٠"])
def test_a_weight_that_cannot_be_read_refuses(weight: str) -> None:
    assert parse_accept_encoding([f"gzip;q={weight}"]).weight("gzip") == 0


def test_a_long_field_is_read_and_not_remembered() -> None:
    field = ", ".join(["x" * 50] * 100) + ", br;q=0.5"
    assert parse_accept_encoding([field]).weights == {"x" * 50: 1000, "br": 500}
    assert parse_accept_encoding([field]) is not parse_accept_encoding([field])
    assert parse_accept_encoding(["br, gzip"]) is parse_accept_encoding([b"br, gzip"])


def test_repr() -> None:
    assert repr(parse_accept_encoding([b"br;q=0.5, *"])) == "Preferences({'br': 500}, others=1000)"
