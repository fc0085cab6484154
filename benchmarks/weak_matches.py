"""
From which distance on nothing is close: the threshold of the example's notice on weak matches.

The nearest entry of the standard library's documentation to each question, by cosine distance:
to the questions of hybrid_questions.py, which it answers, and to those below, which it does not.
Read the table and choose; the notice costs least where the two shares are both large. Writes
weak_matches.txt.

    pip install -e '.[bench]'
    python benchmarks/weak_matches.py
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import common
import numpy as np
from hybrid_questions import IN_WORDS, WITH_NAMES

from example_project.library.embedding import embed, text_of
from example_project.library.stdlib import documented

# About anything but programming, written before any was tried.
ELSEWHERE = """
    bake sourdough bread at home
    who won the world cup in 1998
    cheap flights to Lisbon in May
    symptoms of the flu in children
    how to train a puppy
    best pizza near the station
    water tomatoes in hot weather
    history of the Roman empire
    knit a scarf for beginners
    fix a leaking tap
    guitar chords for a love song
    mortgage rates this year
    how tall is mount everest
    poems about autumn
    vegetarian lasagne recipe
    what is the capital of Mongolia
    repair a bicycle puncture
    stretching exercises for runners
    learn Spanish in a month
    remove red wine stains from a carpet
    weather in Berlin tomorrow
    how to cook rice
    symptoms of vitamin deficiency
    prune roses in winter
    football transfer news
    buy a used car
    yoga for back pain
    birthday present for grandmother
    movie with a shark
    dinosaurs of the Jurassic period
    install solar panels on the roof
    jazz concerts in Paris
    how do volcanoes erupt
    chess openings for black
    wedding dress in ivory lace
    migration of the arctic tern
    cure a hangover
    paint the kitchen walls
    kangaroo
    asdfghjkl qwertyuiop
    xyzzy plugh
    Goethe and Schiller in Weimar
    holiday cottage by the sea
    teach a parrot to speak
    sunscreen for sensitive skin
    marathon training plan
    apple pie with cinnamon
    the French Revolution
    babysitter wanted
    mountain bikes on sale
"""


def nearest(questions: Sequence[str], entries: Any) -> Any:
    """The cosine distance of the nearest entry to each question."""
    vectors = unit(embed(questions))
    return 1 - (vectors @ entries.T).max(axis=1)


def unit(vectors: Any) -> Any:
    rows = np.asarray(vectors, np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


def table() -> str:
    items = documented()
    entries = unit(embed([text_of(item) for item in items]))
    asked = {
        "in words": [question for question, _ in IN_WORDS],
        "with names": [question for question, _ in WITH_NAMES],
        "about something else": [each.strip() for each in ELSEWHERE.strip().splitlines()],
    }
    found = {name: nearest(questions, entries) for name, questions in asked.items()}
    counts = ", ".join(f"{len(questions)} {name}" for name, questions in asked.items())
    title = f"Questions whose nearest entry is within a distance: {counts}; {len(items):,} entries"
    rows = [
        [f"{limit:.2f}", *(f"{np.mean(each <= limit):.0%}" for each in found.values())]
        for limit in np.arange(0.4, 0.76, 0.05)
    ]
    return common.titled(title, ("Distance", *found), rows)


def main() -> None:
    options = common.arguments(__doc__)
    common.write(options.output / "weak_matches.txt", table())


if __name__ == "__main__":
    main()
