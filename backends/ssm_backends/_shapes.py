"""Symbolic shapes: matching an array's shape against "b d l", "*s n m" or "r+1"."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssm_backends.errors import ShapeError


def rank_matches(pattern: str, rank: int) -> bool:
    """Whether an array of this rank can have this shape: more dimensions only where it is batched."""
    symbols = pattern.split()
    batched = symbols and any(symbol[0] in "*=" for symbol in symbols)
    return rank >= len(symbols) - 1 if batched else rank == len(symbols)


@dataclass
class Sizes:
    """Sizes bound so far in one call, and which argument bound each."""

    minimum: dict[str, int]
    bound: dict[str, int] = field(default_factory=dict)
    origin: dict[str, str] = field(default_factory=dict)
    system: tuple[int, ...] = ()

    def bind(self, symbol: str, size: int, argument: str) -> bool:
        """Record the size of a symbol; False if it already has another, or is too small."""
        base, plus, offset = symbol.partition("+")
        if plus:
            size -= int(offset)
        if base.isdigit():
            return size == int(base)
        if size < self.minimum.get(base, 0):
            return False
        if base in self.bound:
            return self.bound[base] == size
        self.bound[base] = size
        self.origin[base] = argument
        return True

    def broadcast(self, batch: tuple[int, ...]) -> bool:
        """Broadcast one argument's ``*s`` dimensions into the call's; False if they do not."""
        longest = max(len(batch), len(self.system))
        a = (1,) * (longest - len(batch)) + batch
        b = (1,) * (longest - len(self.system)) + self.system
        if any(x != y and x != 1 and y != 1 for x, y in zip(a, b, strict=True)):
            return False
        self.system = tuple(y if x == 1 else x for x, y in zip(a, b, strict=True))
        return True

    def match(self, argument: str, pattern: str, shape: tuple[int, ...]) -> None:
        """Bind every symbol of a pattern to an array's shape, or raise ShapeError."""
        symbols, given = pattern.split(), shape
        stars = [i for i, symbol in enumerate(symbols) if symbol[0] in "*="]
        fits = True
        if stars:
            (star,) = stars
            stop = len(shape) - (len(symbols) - star - 1)
            batch = shape[star:stop]
            fits = batch == self.system if symbols[star][0] == "=" else self.broadcast(batch)
            symbols = symbols[:star] + symbols[star + 1 :]
            shape = shape[:star] + shape[stop:]
        for symbol, size in zip(symbols, shape, strict=True):
            fits = self.bind(symbol, size, argument) and fits  # `&=` would reach a traced graph
        if not fits:
            raise ShapeError(self._complaint(argument, pattern, given))

    def _complaint(self, argument: str, pattern: str, shape: tuple[int, ...]) -> str:
        facts = []
        for symbol in pattern.split():
            base = symbol.partition("+")[0]
            if base.startswith("*"):
                facts.append("*s broadcasting among the arguments")
            elif base.startswith("="):
                facts.append(f"s = {self.system}")
            elif base in self.bound and self.origin[base] != argument:
                facts.append(f"{base} = {self.bound[base]} (from `{self.origin[base]}`)")
            elif base in self.minimum:
                facts.append(f"{base} ≥ {self.minimum[base]}")
        return f"`{argument}` must have shape {pretty(pattern)}{_with(facts)}; got {shape}"


def pretty(pattern: str) -> str:
    """'b d l' as '(b, d, l)', '*s n m' as '(*s, n, m)'."""
    symbols = [symbol.replace("=", "*") for symbol in pattern.split()]
    return f"({', '.join(symbols)}{',' if len(symbols) == 1 else ''})"


def _with(facts: list[str]) -> str:
    return f" with {', '.join(dict.fromkeys(facts))}" if facts else ""
