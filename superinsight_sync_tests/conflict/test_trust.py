"""What is learned of sources, and when it is enough to decide."""

import duckdb

from superinsight_sync.conflict.trust import FEWEST_CASES, learn, threshold


def test_few_reviewed_cases_or_wrong_ones_give_no_threshold() -> None:
    assert threshold([(1.0, True)] * (FEWEST_CASES - 1), 0.9) is None
    assert threshold([(1.0, True), (1.0, False)] * 100, 0.9) is None


def test_the_threshold_is_the_least_lead_that_was_right_often_enough() -> None:
    sure = [(5.0 + i / 100, True) for i in range(60)]
    unsure = [(1.0 + i / 100, i % 2 == 0) for i in range(60)]
    found = threshold([*unsure, *sure], 0.9)
    assert found is not None
    assert 1.5 < found < 5.0


def test_reviews_teach_that_a_majority_that_copies_is_wrong() -> None:
    with duckdb.connect() as duck:
        duck.execute("CREATE TABLE votes (field VARCHAR, item VARCHAR, choice VARCHAR, stream VARCHAR)")
        rows = [
            ("f", str(i), "good" if s == "own" else "bad", s)
            for i in range(50)
            for s in ("own", "a", "b", "c")
        ]
        duck.executemany("INSERT INTO votes VALUES (?, ?, ?, ?)", rows)
        duck.execute("CREATE TABLE reviewed AS SELECT DISTINCT field, item, 'good' AS choice FROM votes")
        learned = learn(duck, "votes", "reviewed")
    assert learned.weights["f"]["own"] > sum(learned.weights["f"][s] for s in ("a", "b", "c"))
    assert [is_right for _, is_right in learned.cases["f"]] == [True] * 50
