"""CISI: 1,460 abstracts, questions in whole sentences, and which abstracts answer which.

A research test collection, read from the folder of the test data; none of it is kept here. Used by
the benchmark of search and by its test.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

DEPTH, REACH = 10, 100
Ranking = Sequence[int]


@dataclass(frozen=True)
class Collection:
    """Abstracts and questions by their numbers; the answers of each question that has some."""

    abstracts: Mapping[int, str]
    questions: Mapping[int, str]
    answers: Mapping[int, Set[int]]

    @classmethod
    def read(cls, folder: Path) -> "Collection":
        """The three files. Raises `FileNotFoundError`."""
        answers: dict[int, set[int]] = {}
        for line in (folder / "cisi.rel").read_text().splitlines():
            if line.strip():
                question, abstract = line.split()[:2]
                answers.setdefault(int(question), set()).add(int(abstract))
        return cls(_read(folder / "cisi.all"), _read(folder / "cisi.qry"), answers)

    def first(self, count: int, least_answers: int) -> "Collection":
        """The first abstracts alone, and the questions that some of them answer."""
        abstracts = {number: self.abstracts[number] for number in sorted(self.abstracts)[:count]}
        answers = {
            question: present
            for question, known in self.answers.items()
            if len(present := known & abstracts.keys()) >= least_answers
        }
        return Collection(abstracts, self.questions, answers)


@dataclass(frozen=True)
class Relevance:
    """Means over questions: nDCG of the first 10, and the share of all answers in the first 100."""

    ndcg: float
    recall: float

    @classmethod
    def of(
        cls, collection: Collection, questions: Sequence[int], rank: Callable[[int], Ranking]
    ) -> "Relevance":
        """Of what `rank` finds for a question's number: abstracts, best first."""
        pairs = [(rank(number), collection.answers[number]) for number in questions]
        return cls(
            sum(_ndcg(*pair) for pair in pairs) / len(pairs),
            sum(_recall(*pair) for pair in pairs) / len(pairs),
        )


def _ndcg(ranking: Ranking, answers: Set[int]) -> float:
    gained = sum(_gain(place) for place, each in enumerate(ranking[:DEPTH]) if each in answers)
    return gained / sum(map(_gain, range(min(DEPTH, len(answers)))))


def _gain(place: int) -> float:
    return 1 / math.log2(place + 2)


def _recall(ranking: Ranking, answers: Set[int]) -> float:
    return len(answers & set(ranking[:REACH])) / len(answers)


def _read(path: Path) -> dict[int, str]:
    found = {}
    for record in re.split(r"^\.I ", path.read_text(), flags=re.MULTILINE)[1:]:
        number, _, rest = record.partition("\n")
        _, _, words = rest.partition(".W\n")
        found[int(number)] = " ".join(words.split())
    return found
