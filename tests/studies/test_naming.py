"""Words that distinguish runs."""

from jaxbench.studies.naming import differing, setting_texts, setting_words


def test_only_what_differs_is_named_and_an_empty_text_is_none():
    rows = [{"a": 1, "b": "", "c": 0}, {"a": 1, "b": None, "c": None}]
    assert differing(rows, ("a", "b", "c", "d")) == ("c",)
    assert setting_words(rows, ("a", "b", "c", "d")) == [("c 0",), ()]


def test_case_16_two_values_never_share_a_text():
    assert setting_texts({0.1, 0.25}) == {0.1: "0.1", 0.25: "0.25"}
    close = setting_texts({0.1, 0.10000001})
    assert close == {0.1: "0.1", 0.10000001: "0.10000001"}


def test_words_of_settings_are_the_callers():
    rows = [
        {"model": "a", "train_batch_size": 8},
        {"model": "b", "train_batch_size": 4},
    ]
    words = {"model": "", "train_batch_size": "batch"}
    assert setting_words(rows, words, words=words) == [
        ("a", "batch 8"),
        ("b", "batch 4"),
    ]
