"""Arithmetic and algebra with worked answers, generated: a fixed count from a fixed seed."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from fractions import Fraction

from mixgym.corpus.spool import Document
from mixgym.corpus.wheels import Wheels

DOCUMENTS = 6_000
SEED = 20_240_117


class Draw:
    """Random numbers that are the same on every Python version (only `random()` is promised)."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def integer(self, low: int, high: int) -> int:
        """An integer from `low` to `high`, both included."""
        return low + int(self._random() * (high - low + 1))

    def number(self, digits: int) -> int:
        """A positive integer of one to `digits` digits."""
        return self.integer(1, 10 ** self.integer(1, digits) - 1)

    def choice(self, items: tuple[str, ...]) -> str:
        """One of `items`."""
        return items[self.integer(0, len(items) - 1)]


def _signed(value: int) -> str:
    return f"+ {value}" if value >= 0 else f"- {-value}"


def _addition(draw: Draw) -> str:
    a, b = draw.number(7), draw.number(7)
    return f"{a} + {b} = {a + b}"


def _subtraction(draw: Draw) -> str:
    a, b = draw.number(6), draw.number(6)
    return f"{a} - {b} = {a - b}"


def _multiplication(draw: Draw) -> str:
    a, b = draw.number(4), draw.number(3)
    parts = [
        int(digit) * 10**place * a for place, digit in enumerate(reversed(str(b))) if digit != "0"
    ]
    middle = f"{' + '.join(map(str, parts))} = " if len(parts) > 1 else ""
    return f"{a} * {b} = {middle}{a * b}"


def _division(draw: Draw) -> str:
    a, b = draw.number(6), draw.number(3)
    quotient, rest = divmod(a, b)
    return f"Divide {a} by {b}: {a} = {b} * {quotient} + {rest}, remainder {rest}."


def _linear(draw: Draw) -> str:
    a, x, b = draw.integer(2, 30), draw.integer(-40, 40), draw.integer(-99, 99)
    c = a * x + b
    return f"Solve {a}*x {_signed(b)} = {c} for x. {a}*x = {c - b}, so x = {x}."


def _expand(draw: Draw) -> str:
    a, b = draw.integer(-12, 12), draw.integer(-12, 12)
    product = f"x**2 {_signed(a + b)}*x {_signed(a * b)}"
    return f"Expand (x {_signed(a)})*(x {_signed(b)}): {product}."


def _roots(draw: Draw) -> str:
    p, q = sorted((draw.integer(-15, 15), draw.integer(-15, 15)))
    equation = f"x**2 {_signed(-p - q)}*x {_signed(p * q)} = 0"
    return f"Solve {equation}. (x {_signed(-p)})*(x {_signed(-q)}) = 0, so x = {p} or x = {q}."


def _divisor(draw: Draw) -> str:
    common = draw.number(2)
    a, b = common * draw.number(2), common * draw.number(2)
    gcd = math.gcd(a, b)
    return f"Greatest common divisor of {a} and {b}: {gcd}. Least common multiple: {a * b // gcd}."


def _fractions(draw: Draw) -> str:
    a = Fraction(draw.integer(1, 20), draw.integer(2, 20))
    b = Fraction(draw.integer(1, 20), draw.integer(2, 20))
    sign = draw.choice(("+", "-", "*"))
    result = a + b if sign == "+" else a - b if sign == "-" else a * b
    return f"({a}) {sign} ({b}) = {result}"


def _percent(draw: Draw) -> str:
    rate, base = draw.integer(1, 99), draw.number(3) * 100
    return f"What is {rate}% of {base}? {rate} * {base} / 100 = {rate * base // 100}."


def _sequence(draw: Draw) -> str:
    start, step, bend = draw.integer(-30, 60), draw.integer(-15, 20), draw.integer(0, 4)
    terms = [start + step * n + bend * n * n for n in range(7)]
    return f"Next term of {', '.join(map(str, terms[:6]))}: {terms[6]}."


def _factors(draw: Draw) -> str:
    number = rest = draw.number(4) + 1
    found = []
    divisor = 2
    while rest > 1:
        while rest % divisor == 0:
            found.append(divisor)
            rest //= divisor
        divisor += 1
    return f"Prime factors of {number}: {' * '.join(map(str, found))}."


def _base(draw: Draw) -> str:
    number = draw.number(4)
    return f"{number} in base 2 is {number:b}, in base 16 {number:x}."


def _derivative(draw: Draw) -> str:
    a, n, b = draw.integer(2, 20), draw.integer(3, 9), draw.integer(-30, 30)
    return f"Differentiate {a}*x**{n} {_signed(b)}*x: {a * n}*x**{n - 1} {_signed(b)}."


def _order(draw: Draw) -> str:
    values = [draw.integer(-99, 999) for _ in range(6)]
    return f"Sort {', '.join(map(str, values))}: {', '.join(map(str, sorted(values)))}."


def _story(draw: Draw) -> str:
    name = draw.choice(("Ada", "Bruno", "Chen", "Dalia", "Emeka", "Farah", "Goro", "Hana"))
    thing = draw.choice(("apples", "books", "coins", "letters", "seeds", "stamps", "tickets"))
    boxes, each, gone = draw.integer(2, 40), draw.integer(2, 60), draw.integer(1, 4)
    total = boxes * each
    return (
        f"{name} has {boxes} boxes of {each} {thing} and gives {gone} away. "
        f"How many {thing} are left? {boxes} * {each} - {gone} = {total} - {gone} = {total - gone}."
    )


PROBLEMS: tuple[Callable[[Draw], str], ...] = (
    _addition,
    _subtraction,
    _multiplication,
    _division,
    _linear,
    _expand,
    _roots,
    _divisor,
    _fractions,
    _percent,
    _sequence,
    _factors,
    _base,
    _derivative,
    _order,
    _story,
)


def math_synth(wheels: Wheels) -> Iterator[Document]:
    """Generated exercises; a document holds some dozen of one to four kinds."""
    draw = Draw(SEED)
    for number in range(DOCUMENTS):
        kinds = [PROBLEMS[draw.integer(0, len(PROBLEMS) - 1)] for _ in range(draw.integer(1, 4))]
        lines = [kinds[line % len(kinds)](draw) for line in range(draw.integer(10, 20))]
        yield Document(str(number), "\n".join(lines))
