"""A question is read without a model, and what was understood is data."""

from __future__ import annotations

import pytest

from actors.project.ask import EXAMPLES, NotUnderstood, read

NAMES = ["city", "amount", "dep_delay", "air time", "count", "a,b"]
NUMBERS = ["amount", "dep_delay"]


def understood(question: str) -> dict[str, object]:
    meaning = read(question, NAMES, NUMBERS)
    return {name: value for name in meaning.__slots__ if (value := getattr(meaning, name))}


@pytest.mark.parametrize(
    ("question", "meaning"),
    [
        ("7 random rows", {"form": "random", "n": 7}),
        ("show me a sample of 3 rows", {"form": "random", "n": 3}),
        ("rows 100 to 120", {"form": "range", "start": 100, "end": 120}),
        ("last 5 rows", {"form": "rows", "n": 5, "last": True}),
        ("how many rows?", {"form": "count"}),
        ("How many different city", {"form": "count", "columns": ["city"], "distinct": True}),
        (
            "what is the mean dep delay per city?",
            {"form": "aggregate", "columns": ["dep_delay"], "aggregate": "average", "by": "city"},
        ),
        ("max air time", {"form": "aggregate", "columns": ["air time"], "aggregate": "maximum"}),
        (
            "top 5 city by total amount",
            {"form": "top", "columns": ["amount"], "aggregate": "sum", "by": "city", "n": 5},
        ),
        ("values of city", {"form": "values", "columns": ["city"]}),
        ("rows per city", {"form": "values", "columns": ["city"]}),
        ("histogram of amount with 4 bins", {"form": "histogram", "columns": ["amount"], "n": 4}),
        ("describe", {"form": "stats"}),
        ("statistics of amount", {"form": "stats", "columns": ["amount"]}),
        ("which columns have missing values?", {"form": "missing"}),
        ("duplicates in city, amount", {"form": "duplicates", "columns": ["city", "amount"]}),
        ("outliers in amount", {"form": "outliers", "columns": ["amount"]}),
        ('find "be*" in city', {"form": "search", "pattern": "be*", "columns": ["city"]}),
        ("what columns are there", {"form": "columns"}),
        ('values of "count"', {"form": "values", "columns": ["count"]}),
        ('values of "a,b"', {"form": "values", "columns": ["a,b"]}),
    ],
)
def test_each_form_is_read_as_it_is_meant(question: str, meaning: dict[str, object]) -> None:
    """A column is found by its name, its words, or in quotes."""
    assert understood(question) == meaning


@pytest.mark.parametrize(
    ("words", "condition"),
    [
        ("city is New York", ("equals", "New York")),
        ("city is not 'O''Hare'", ("not_equals", "O'Hare")),
        ("amount > 10", ("greater_than", 10)),
        ("amount is at least 2.5", ("greater_than_or_equal", 2.5)),
        ("amount less than 3", ("less_than", 3)),
        ("amount <= 3", ("less_than_or_equal", 3)),
        ("amount between 1 and 5", ("between", [1, 5])),
        ("city contains orl", ("contains", "orl")),
        ("city does not contain x", ("not_contains", "x")),
        ("city starts with B", ("starts_with", "B")),
        ("city is one of Rom, Oslo or Bonn", ("in", ["Rom", "Oslo", "Bonn"])),
        ("city is empty", ("empty", None)),
        ("city is not empty", ("not_empty", None)),
    ],
)
def test_conditions_are_read_in_their_many_words(words: str, condition: tuple[str, object]) -> None:
    """Every operator of a filter has words of its own."""
    found = read(f"how many rows where {words}", NAMES, NUMBERS).filter
    assert (found["operator"], found.get("value")) == condition


def test_and_binds_tighter_than_or() -> None:
    """And the `and` of a between is none of them."""
    found = read("rows where city is a or amount between 1 and 2 and city is b", NAMES).filter
    assert [one["column"] for one in found["or"][1]["and"]] == ["amount", "city"]


def test_what_is_not_understood_names_the_nearest_forms() -> None:
    """With columns that there are, so that each form can be asked as it stands."""
    with pytest.raises(NotUnderstood) as caught:
        read("the mean of everything by city", NAMES, NUMBERS)
    for example in caught.value.near:
        read(example, NAMES, NUMBERS)


def test_a_slip_in_a_columns_name_is_told() -> None:
    """It is the usual reason why nothing fits."""
    with pytest.raises(NotUnderstood, match="'amont' is no column, and the nearest is 'amount'"):
        read("average amont by city", NAMES, NUMBERS)


def test_every_example_of_the_documentation_is_understood() -> None:
    """The table in the module and the examples name the same forms."""
    for form, example in EXAMPLES:
        assert read(example.format(text="city", number="amount"), NAMES, NUMBERS).form == form


@pytest.mark.parametrize(
    "question", ["", "?", "\ue000c0\ue001", "where " * 100, "how many rows where city is", "x" * 5000]
)
def test_odd_questions_are_refused_and_nothing_more(question: str) -> None:
    """Marks in the question are not taken for columns."""
    with pytest.raises(NotUnderstood):
        read(question, NAMES, NUMBERS)


@pytest.mark.parametrize(
    "name", ["c0", "v0", "''", '"', "\ue000c0\ue001", "+x", "where", "it's", "1", "a  b"]
)
def test_a_column_of_any_name_is_meant_when_it_stands_in_quotes(name: str) -> None:
    """Beside others whose marks and words it may look like."""
    names = ["city", name, "c1", "x"]
    quoted = '"' + name.replace('"', '""') + '"'
    if "\ue000" in name:
        with pytest.raises(NotUnderstood):
            read(f"values of {quoted}", names)
        return
    meaning = read(f"show {quoted}, city where {quoted} is 'y' sorted by {quoted}", names)
    assert meaning.columns == [name, "city"]
    assert (meaning.filter["column"], meaning.sort[0]["column"]) == (name, name)
