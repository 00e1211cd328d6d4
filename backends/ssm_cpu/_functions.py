"""Exponential, sine and cosine, softplus and sigmoid of lanes, without a branch.

The error of each, measured over the float32 numbers in range, is held by the tests. Coefficients for
float32 are minimax (Remez exchange in 40 digits, rounded); those for float64 are Taylor's, or minimax
for the logarithm.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import factorial, inf, log, nan, pi
from typing import Final

from llvmlite import ir

from ssm_cpu._values import BIT, LANES, Lanes, Mask, choose, fma, joined

_LN2: Final = log(2.0)
_TURN: Final = pi / 2

# Each pair is for float32 and for float64. log2(e) and 2/π: the nearest number, and what is missing.
_LOG2_E: Final = (1.4426950216293335, 1.442695040888963387)
_LOG2_E_REST: Final = (1.92596299112661747e-8, 2.0355273740931033e-17)
_TURNS: Final = (0.6366197466850281, 0.63661977236758138)
_TURNS_REST: Final = (2.56825532669036601e-8, -3.9357353350364974e-17)
_SHIFT: Final = (1.5 * 2.0**23, 1.5 * 2.0**52)
"""Added to a number, it leaves the nearest integer in the low bits."""
_LEAST_SIZE: Final = 2
"""VRANGEPS chooses of two numbers the one of smaller size, with the sign of the first; never a NaN."""
_LOWEST: Final = (-126.0, -1022.0)
_HIGHEST: Final = (128.0, 1024.0)
_MOST_TURNS: Final = (2.0**22, 2.0**51)

_EXP2_SLOPE: Final = (
    (
        0.0001546970015624538,
        0.0013390866806730628,
        0.009618030861020088,
        0.055503569543361664,
        0.24022650718688965,
        0.6931471824645996,
    ),
    tuple(_LN2**k / factorial(k) for k in range(13, 0, -1)),
)
"""(2ʳ − 1)/r for |r| ≤ ½."""
_SINE: Final = (
    (-0.004602176831785432, 0.07968022800658897, -0.645963478636867, 1.5707963219669876),
    tuple((-1) ** k * _TURN ** (2 * k + 1) / factorial(2 * k + 1) for k in range(9, -1, -1)),
)
"""sin(πr/2)/r of r², |r| ≤ ½."""
_COSINE: Final = (
    (0.0009040217072453995, -0.020860288529185356, 0.2536692440337976, -1.2337005433537103),
    tuple((-1) ** k * _TURN ** (2 * k) / factorial(2 * k) for k in range(9, 0, -1)),
)
"""(cos(πr/2) − 1)/r² of r², |r| ≤ ½."""
_LOGARITHM: Final = (
    (
        0.24412998096517735,
        0.21393269114472116,
        0.2862072043460468,
        0.3999869096390562,
        0.6666667930666058,
        1.999999999802828,
    ),
    (
        0.16503811500571283,
        0.06970910828546467,
        0.10979115821910122,
        0.11714902381412044,
        0.1333691124533796,
        0.15384445015460513,
        0.18181823500483163,
        0.22222222117250037,
        0.2857142857264862,
        0.39999999999992686,
        0.6666666666666669,
        2.0,
    ),
)
"""log((1 + s)/(1 − s))/s of s², s ≤ ⅓."""


def _own(x: Lanes, pair: tuple[float, float]) -> Lanes:
    """A constant of x's type."""
    return x.f.constant(pair[x.f.program.double])


def polynomial(pair: tuple[Sequence[float], Sequence[float]], x: Lanes) -> Lanes:
    """Horner's rule for real or complex x; coefficients from the highest power down."""
    first, *rest = pair[x.f.program.double]
    imaginary = x.f.zeros().parts * (len(x.parts) - 1)
    value = Lanes(x.f, (*x.f.constant(first).parts, *imaginary))
    for coefficient in rest:
        value = fma(value, x, Lanes(x.f, (*x.f.constant(coefficient).parts, *imaginary)))
    return value


def exp2_scale(a: Lanes) -> tuple[Lanes, Lanes]:
    """a·log2(e), as a number and its rest: what :func:`exp_product` takes for exp(x·a)."""
    return _scaled_by(a, _LOG2_E, _LOG2_E_REST)


def turn_scale(a: Lanes) -> tuple[Lanes, Lanes]:
    """a·2/π, as a number and its rest: what :func:`circle_product` takes for exp(i·x·a)."""
    return _scaled_by(a, _TURNS, _TURNS_REST)


def _scaled_by(a: Lanes, factor: tuple[float, float], rest: tuple[float, float]) -> tuple[Lanes, Lanes]:
    high = a * _own(a, factor)
    return high, fma(a, _own(a, factor), -high) + a * _own(a, rest)


def exp_product(x: Lanes, high: Lanes, low: Lanes) -> Lanes:
    """2^(x·(high + low)); the product is reduced before it is rounded, so its size costs no accuracy.

    2ˣ = 2ⁿ 2ʳ, n the nearest integer, |r| ≤ ½. Below the smallest normal number the result is 0. Without
    AVX-512 a NaN must be the one without a payload, as :func:`quieted` makes it: integer arithmetic on
    its exponent then keeps it.
    """
    f = x.f
    shifted = fma(x, high, _own(x, _SHIFT))
    n = shifted - _own(x, _SHIFT)
    r = fma(x, low, fma(x, high, -n))
    if f.program.in_register:
        return _scaled_at_once(r, n)
    value = _scaled_by_bits(fma(polynomial(_EXP2_SLOPE, r), r, f.constant(1.0)), shifted)
    p = x * high
    value = choose(p < _own(x, _HIGHEST), value, choose(p.is_nan(), p, f.constant(inf)))
    return choose(p < _own(x, _LOWEST), f.zeros(), value)


def _bits(x: Lanes) -> tuple[ir.VectorType, ir.Value, int]:
    """Its type as integers, its bits, and the place of its exponent."""
    width, place = (64, 52) if x.f.program.double else (32, 23)
    kind = ir.VectorType(ir.IntType(width), LANES)
    return kind, x.f.builder.bitcast(x.parts[0], kind), place


def _scaled_at_once(r: Lanes, n: Lanes) -> Lanes:
    """2ʳ 2ⁿ by two instructions of AVX-512, which know the ends of the range; a NaN or ∞ is in n."""
    one = r.f.constant(1.0)
    r = r.f.avx512("range", r, one, _LEAST_SIZE)
    return r.f.avx512("scalef", fma(polynomial(_EXP2_SLOPE, r), r, one), n)


def _scaled_by_bits(value: Lanes, shifted: Lanes) -> Lanes:
    """value · 2ⁿ through its exponent, where n stands in the low bits of `shifted`."""
    kind, low, place = _bits(shifted)
    exponent = value.f.builder.shl(low, ir.Constant(kind, [place] * LANES))
    moved = value.f.builder.add(_bits(value)[1], exponent)
    return Lanes(value.f, (value.f.builder.bitcast(moved, value.parts[0].type),))


def _bit(shifted: Lanes, position: int) -> Mask:
    """Whether a low bit of the integer in the low bits of `shifted` is set."""
    kind, low, _ = _bits(shifted)
    moved = shifted.f.builder.lshr(low, ir.Constant(kind, [position] * LANES))
    return Mask(shifted.f, shifted.f.builder.trunc(moved, ir.VectorType(BIT, LANES)))


def circle_product(x: Lanes, high: Lanes, low: Lanes) -> Lanes:
    """exp(iπ/2·x·(high + low)): cosine and sine of x·a, with a scaled by :func:`turn_scale`.

    Quarter turns are counted up to 2²² (2⁵¹ in float64). An angle beyond that is not known to a turn in
    the type itself; the result still lies on the circle.
    """
    p = x * high
    inside = absolute(p) < _own(x, _MOST_TURNS)
    shifted = choose(inside, fma(x, high, _own(x, _SHIFT)), _own(x, _SHIFT) + (p - p))
    k = shifted - _own(x, _SHIFT)
    r = choose(inside, fma(x, low, fma(x, high, -k)), k)
    q = r * r
    sine, cosine = r * polynomial(_SINE, q), fma(q, polynomial(_COSINE, q), x.f.constant(1.0))
    odd, back = _bit(shifted, 0), _bit(shifted, 1)
    turned = choose(odd, -sine, cosine), choose(odd, cosine, sine)
    return joined(*(choose(back, -part, part) for part in turned))


def absolute(x: Lanes) -> Lanes:
    """|x| of real lanes."""
    return Lanes(x.f, (x.f.intrinsic("llvm.fabs", x.parts[0]),))


def quieted(x: Lanes) -> Lanes:
    """x, with every NaN the one without a payload."""
    return choose(x.is_nan(), x.f.constant(nan), x)


def exp(x: Lanes) -> Lanes:
    """exp of real lanes."""
    return exp_product(quieted(x), _own(x, _LOG2_E), _own(x, _LOG2_E_REST))


def softplus(x: Lanes) -> Lanes:
    """log(1 + exp(x)), without a threshold and relatively accurate everywhere; 0 at −∞."""
    tail = exp(-absolute(x))
    half = x.f.constant(0.5)
    twice = tail / (half * tail + x.f.constant(1.0))  # 2s, since s may be flushed where the result is normal
    s = half * twice
    logarithm = twice * (half * polynomial(_LOGARITHM, s * s))
    return choose(x < x.f.zeros(), logarithm, x + logarithm)


def sigmoid(x: Lanes) -> Lanes:
    """1/(1 + exp(−x)), without overflow, relatively accurate in both tails."""
    one = x.f.constant(1.0)
    tail = exp(-absolute(x))
    return choose(x < x.f.zeros(), tail, one) / (tail + one)
