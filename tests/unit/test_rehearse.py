"""What is said before training."""

from __future__ import annotations

import pytest

from drgnalign.errors import DrgnalignError
from drgnalign.heterogeneity.rehearse import epoch_seconds, in_words

LINE = "(INFO) # =====> Epoch: 1 Average gen loss = 0.8, KLD = 0.17, total loss = 0.82; Finished in {}\n"


@pytest.mark.parametrize(
    ("text", "seconds"), [("0:00:00.112046", 0.112046), ("1:02:03", 3723.0), ("2 days, 1:00:00.5", 176400.5)]
)
def test_the_duration_of_an_epoch(text: str, seconds: float) -> None:
    assert epoch_seconds(LINE.format("0:00:00.05") + LINE.format(text)) == pytest.approx(seconds)


def test_the_first_epoch_and_what_is_held_up_do_not_count() -> None:
    durations = ("0:00:00.1", "0:00:00.4", "0:00:00.2", "0:00:00.3")
    assert epoch_seconds("".join(map(LINE.format, durations))) == pytest.approx(0.2)


def test_a_log_without_one() -> None:
    with pytest.raises(DrgnalignError, match="how long an epoch took"):
        epoch_seconds("Epoch: 1")
    with pytest.raises(DrgnalignError, match="how long an epoch took"):
        epoch_seconds(LINE.format("0:00:01"))


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(40, "40 s"), (700, "12 min"), (4 * 3600, "4 h"), (2.1 * 86400, "2.1 days"), (2e7, "231 days")],
)
def test_times_in_words(seconds: float, words: str) -> None:
    assert in_words(seconds) == words
