"""What the host decides by looking at numbers is one graph too: the same bits, and the same refusals."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial
from shutil import which
from typing import Any

import pytest
import torch
from torch import Tensor

from ssm_backends import ArgumentError
from ssm_torch import (
    causal_convolution,
    discretize_bilinear,
    hippo_legs_compress,
    mamba3_siso,
    s4_kernel,
    selective_scan,
    selective_state_update,
    ssd,
    ssm_kernel,
    ssm_recurrence,
)
from ssm_torch.duality.states import states_around
from ssm_torch.resets import sum_from_resets

from .problems import draw_call, same_bits, step, system

Function = Callable[..., Any]
KINDS = pytest.mark.parametrize("kind", [torch.float32, torch.complex64])
DIAGONAL = pytest.mark.parametrize("diagonal", [False, True])


class Traced:
    """A function as one graph a kind of call, and how often it was traced."""

    def __init__(self, function: Function) -> None:
        torch._dynamo.reset()
        self.graphs = 0
        self._call = torch.compile(function, fullgraph=True, backend=self._count)

    def _count(self, graph: Any, inputs: Any) -> Any:
        self.graphs += 1
        return torch._dynamo.lookup_backend("aot_eager")(graph, inputs)

    def __call__(self, **inputs: Any) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of PyTorch about its own tracing
            return self._call(**inputs)


def results(function: Function, inputs: dict[str, Any]) -> list[Tensor]:
    """Outputs, and the gradient of every input that may have one."""
    leaves = {
        name: x.detach().clone().requires_grad_()
        for name, x in inputs.items()
        if torch.is_tensor(x) and (x.is_floating_point() or x.is_complex())
    }
    found = function(**(inputs | leaves))
    outputs = found if isinstance(found, tuple) else (found,)
    cotangents = [torch.cos(torch.arange(x.numel())).view(x.shape).to(x.dtype) for x in outputs]
    return [*outputs, *torch.autograd.grad(outputs, list(leaves.values()), cotangents)]


def kernel(d: int, n: int, length: int, paired: bool) -> dict[str, Any]:
    torch.manual_seed(n)
    P, Q, B, C = (torch.randn(d, n, dtype=torch.complex64) for _ in range(4))
    modes = torch.complex(-torch.rand(d, n), torch.randn(d, n))
    vectors = {"Lambda": modes, "P": P, "Q": Q, "B": B, "C": C}
    return {"delta": torch.rand(d) / 8, **vectors, "length": length, "paired": paired}


@KINDS
@DIAGONAL
def test_the_bilinear_rule_is_one_graph_for_every_number_of_systems(
    diagonal: bool, kind: torch.dtype
) -> None:
    traced = Traced(discretize_bilinear)
    for s in ((3,), (5,), (7,)):
        inputs = system(s, 4, diagonal, kind)
        assert same_bits(results(traced, inputs), results(discretize_bilinear, inputs))
    assert traced.graphs == 2


@DIAGONAL
def test_a_singular_step_is_refused_from_a_graph(diagonal: bool) -> None:
    traced, inputs = Traced(discretize_bilinear), system((), 2, diagonal, torch.float32)
    traced(**inputs)
    A = torch.tensor([2.0, -1.0])
    singular = inputs | {"A": A if diagonal else A.diag(), "delta": torch.tensor(1.0)}
    with pytest.raises(ArgumentError, match=r"^`delta` must leave I − αΔA invertible.* α = 0\.5"):
        traced(**singular)
    assert traced.graphs == 1


@pytest.mark.parametrize("paired", [False, True])
def test_the_kernel_of_s4_is_one_graph(paired: bool) -> None:
    traced = Traced(s4_kernel)
    for d in (2, 3, 5):
        inputs = kernel(d, 4, 9, paired)
        assert same_bits(results(traced, inputs), results(s4_kernel, inputs))
    assert traced.graphs == 2


@KINDS
@pytest.mark.parametrize("rule", ["euler", "zoh"])
def test_a_pool_is_one_graph_whichever_rows_are_skipped(kind: torch.dtype, rule: str) -> None:
    traced = Traced(selective_state_update)
    for slots in ([5, -1, 0, 3], [-1, 4, -1, -1], [-1, -1, -1, -1], [0, 1, 2, 3]):
        inputs = step(slots, 6, kind, b_discretization=rule)
        assert same_bits(results(traced, inputs), results(selective_state_update, inputs))
    assert traced.graphs == 1
    for slots, pool in (([1, -1, 6], 7), ([8, 2, -1, -1, 7], 9)):
        inputs = step(slots, pool, kind, b_discretization=rule)
        assert same_bits(results(traced, inputs), results(selective_state_update, inputs))
    assert traced.graphs == 2


@pytest.mark.parametrize("traced", [False, True])
def test_what_a_skipped_row_and_an_idle_slot_hold_reaches_no_gradient(traced: bool) -> None:
    inputs, spoilt = step([5, -1, 2], 6), step([5, -1, 2], 6)
    for x in (spoilt[name] for name in ("u", "delta", "z", "B", "C")):
        x[1] = torch.nan
    inputs["state"][0] = 0.0
    spoilt["state"] = inputs["state"].clone()
    spoilt["state"][0] = torch.nan
    function = Traced(selective_state_update) if traced else selective_state_update
    clean, found = results(function, inputs), results(function, spoilt)
    assert torch.equal(found[0], clean[0])
    assert torch.equal(found[1][1:], clean[1][1:])
    assert same_bits(found[2:], clean[2:])


@KINDS
def test_a_pool_without_slots_has_gradients_from_a_graph(kind: torch.dtype) -> None:
    inputs = step([-1, -1], 0, kind)
    function = Traced(selective_state_update)
    assert same_bits(results(function, inputs), results(selective_state_update, inputs))
    assert function.graphs == 1


def test_a_pool_is_written_in_place_from_a_graph() -> None:
    traced = Traced(selective_state_update)
    for slots in ([5, -1, 0, 3], [0, 1, 2, 3], [-1, -1, -1, -1]):
        inputs = step(slots, 6, inplace=True)
        pool = inputs["state"].clone()
        y, state = traced(**inputs)
        eager = selective_state_update(**inputs | {"state": pool})
        assert same_bits([y, state], eager)
        assert state is inputs["state"]
    assert traced.graphs == 1


def test_a_pool_written_in_place_from_a_graph_passes_a_gradient_on() -> None:
    found, inputs = [], step([5, -1, 0, 3], 6, inplace=True)
    u = inputs["u"].requires_grad_()
    for function in (selective_state_update, Traced(selective_state_update)):
        pool = inputs["state"].clone()
        y, state = function(**inputs | {"state": pool})
        assert state is pool
        found.append([y, state, *torch.autograd.grad([y.sum(), state.square().sum()], u)])
    assert same_bits(*found)


@pytest.mark.parametrize("slot", [-2, 6])
def test_a_slot_outside_the_pool_is_refused_from_a_graph(slot: int) -> None:
    traced = Traced(selective_state_update)
    traced(**step([5, -1], 6))
    with pytest.raises(ArgumentError, match=rf"^`state_indices` must lie in -1\.\.5, .*; got \[0, {slot}\]"):
        traced(**step([0, slot], 6))
    assert traced.graphs == 1


def test_offsets_that_do_not_rise_are_refused_from_a_graph() -> None:
    traced = Traced(selective_scan)
    traced(**draw_call(1, 2, 9, 2, offsets=(0, 4, 9)))
    with pytest.raises(ArgumentError, match=r"^`cu_seqlens` must"):
        traced(**draw_call(1, 2, 9, 2, offsets=(0, 10, 9)))


@pytest.mark.filterwarnings("ignore:The .grad attribute:UserWarning")  # of opcheck itself, in PyTorch 2.15
def test_what_is_registered_is_what_pytorch_accepts() -> None:
    slots, wide = torch.tensor([2, -1, 0]), torch.randn(4, 5, 6).mT.requires_grad_()
    rows = torch.randn(3, 6, 5, requires_grad=True)
    own = torch.ops.ssm_torch
    torch.library.opcheck(own.check_slots.default, (slots.int(), 4))
    torch.library.opcheck(own.put_slots.default, (wide, slots, rows))
    torch.library.opcheck(own.write_slots.default, (wide.detach().clone(), slots, rows.detach()))
    torch.library.opcheck(own.check_invertible.default, (torch.tensor([False]), 0.5))
    added, decay, initial = (torch.rand(*s, requires_grad=True) for s in ((2, 5, 3, 4), (2, 5), (2, 3, 4)))
    torch.library.opcheck(own.states_around.default, (added, decay, decay > 0.5, initial))


def test_slots_are_differentiated_twice() -> None:
    pool, rows = (torch.randn(k, 2, 2, dtype=torch.float64, requires_grad=True) for k in (4, 3))

    def squared(pool: Tensor, rows: Tensor) -> Tensor:
        return torch.ops.ssm_torch.put_slots(pool, torch.tensor([2, -1, 0]), rows).square()

    assert torch.autograd.gradcheck(squared, (pool, rows))
    assert torch.autograd.gradgradcheck(squared, (pool, rows))


def steps(length: int, diagonal: bool) -> dict[str, Any]:
    """A system that decays, of three channels and four states, and its input."""
    torch.manual_seed(length)
    A, B, C = torch.rand(3, 4), torch.randn(3, 4, 1), torch.randn(3, 1, 4)
    A_bar = A if diagonal else torch.diag_embed(A) + torch.randn(3, 4, 4) / 20
    return {"A_bar": A_bar, "B_bar": B, "C": C, "u": torch.randn(2, 3, 1, length), "diagonal": diagonal}


def impulse(length: int) -> dict[str, Any]:
    system = steps(length, False)
    del system["u"], system["diagonal"]
    return system | {"length": length}


def two_sources(length: int, packed: bool) -> dict[str, Any]:
    """A call of Mamba-3 with every input; packed, a sequence starts every 50 steps."""
    torch.manual_seed(length)
    b, h, p, n, a = 2, 2, 3, 4, 2
    shapes = {"q": (b, length, 1, n), "k": (b, length, 1, n)}
    shapes |= dict.fromkeys(("v", "z"), (b, length, h, p))
    shapes |= dict.fromkeys(("adt", "dt", "trap"), (b, h, length))
    shapes |= {"q_bias": (h, n), "k_bias": (h, n), "angles": (b, length, h, a), "D": (h,)}
    shapes |= {
        "angle_state": (b, h, a),
        "ssm_state": (b, h, p, n),
        "k_state": (b, h, n),
        "v_state": (b, h, p),
    }
    call = {name: torch.randn(*shape) for name, shape in shapes.items()}
    call |= {"adt": -call["adt"].abs() / 8, "dt": call["dt"].abs()}
    index = {"seq_idx": (torch.arange(length) // 50).expand(b, -1)} if packed else {}
    return {**call, **index, "return_final_states": True}


LOOPS: dict[str, tuple[Function, Callable[[int], dict[str, Any]]]] = {
    "modes": (ssm_recurrence, partial(steps, diagonal=True)),
    "dense": (ssm_recurrence, partial(steps, diagonal=False)),
    "kernel": (ssm_kernel, impulse),
    "memory": (hippo_legs_compress, lambda l: {"f": torch.linspace(-1, 1, 2 * l).view(2, l), "n": 4}),
    "prefixes": (
        hippo_legs_compress,
        lambda l: {"f": torch.linspace(-1, 1, 2 * l).view(2, l), "n": 4, "prefixes": True},
    ),
    "resets": (
        sum_from_resets,
        lambda l: {"x": torch.ones(l, 1), "fresh": torch.arange(l) == l // 2, "initial": torch.ones(1)},
    ),
    "chunks": (mamba3_siso, partial(two_sources, packed=False)),
    "packed chunks": (mamba3_siso, partial(two_sources, packed=True)),
}


def counting(nodes: list[int]) -> Callable[..., Any]:
    """A compiler that runs the graph as it is, and notes how many nodes it has."""

    def keep(graph: Any, inputs: Any) -> Any:
        nodes.append(len(graph.graph.nodes))
        return graph.forward

    return keep


@pytest.mark.parametrize("loop", LOOPS)
def test_a_graph_is_as_short_for_a_long_sequence(loop: str) -> None:
    function, inputs = LOOPS[loop]
    nodes: list[int] = []
    for length in (70, 200):  # what goes in chunks of 64 has whole ones and a shorter one in both
        torch._dynamo.reset()
        compiled = torch.compile(function, fullgraph=True, dynamic=False, backend=counting(nodes))
        compiled(**inputs(length))
    assert nodes[0] == nodes[1]


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("length", [2, 70, 200])
def test_loops_in_a_graph_give_what_they_give_outside(loop: str, length: int) -> None:
    function, inputs = LOOPS[loop]
    call = inputs(length)
    for found, expected in zip(results(Traced(function), call), results(function, call), strict=True):
        # Gradients of a matrix are summed in another order; a lost term is of order 1.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.skipif(which("g++") is None, reason="Inductor writes C++ for a CPU")
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # PyTorch's, of its own
def test_inductor_keeps_a_spectrum_of_signals_that_lie_in_another_order() -> None:
    torch._dynamo.reset()
    u, K = torch.randn(3, 2, 20).transpose(0, 1), torch.randn(3, 20)
    compiled = torch.compile(causal_convolution, fullgraph=True)
    call = {"u": u, "K": K}
    for found, expected in zip(results(compiled, call), results(causal_convolution, call), strict=True):
        # Transforms of float32 in two orders; what nobody filled is wrong by a tenth and more.
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_chunks_of_any_number_are_one_graph() -> None:
    nodes: list[int] = []
    torch._dynamo.reset()
    compiled = torch.compile(mamba3_siso, fullgraph=True, backend=counting(nodes))
    for length in (130, 200, 330):  # the first graph holds its length, the second leaves it open
        inputs = two_sources(length, True)
        for found, expected in zip(compiled(**inputs), mamba3_siso(**inputs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)  # as above
    assert len(nodes) == 2


class Layer(torch.nn.Module):
    """An operator whose A is learnt."""

    def __init__(self, function: Function, *sizes: int) -> None:
        super().__init__()
        self.A = torch.nn.Parameter(-torch.arange(1.0, 1 + math.prod(sizes)).view(sizes))
        self.function = function

    def forward(self, x: Tensor, delta: Tensor, B: Tensor, C: Tensor) -> Any:
        return self.function(x, delta, self.A, B, C)


@pytest.mark.parametrize("learnt", [False, True])
@pytest.mark.parametrize(
    ("function", "sizes", "shapes"),
    [
        (ssd, (3,), ("b l 3 4", "b l 3", "b l 1 5", "b l 1 5")),
        (selective_scan, (3, 5), ("b 3 l", "b 3 l", "b 1 5 l", "b 1 5 l")),
    ],
    ids=["ssd", "selective_scan"],
)
def test_an_export_that_leaves_the_length_open_serves_any(
    function: Function, sizes: tuple[int, ...], shapes: tuple[str, ...], learnt: bool
) -> None:
    layer = Layer(function, *sizes).requires_grad_(learnt)
    patterns = [shape.split() for shape in shapes]
    length = torch.export.Dim("l", min=2, max=4096)
    open_at = tuple({pattern.index("l"): length} for pattern in patterns)

    def call(l: int) -> tuple[Tensor, ...]:
        sized = [[{"b": 2, "l": l}.get(size) or int(size) for size in pattern] for pattern in patterns]
        return tuple(torch.rand(size) / 10 for size in sized)

    exported = torch.export.export(layer, call(70), dynamic_shapes=open_at).module()
    for l in (2, 64, 200):
        inputs = call(l)
        found, expected = exported(*inputs), layer(*inputs)
        assert torch.equal(found, expected)
        if learnt:
            slopes = (
                torch.autograd.grad(y.sum(), list(who.parameters()))
                for y, who in ((found, exported), (expected, layer))
            )
            assert same_bits(*slopes)


@pytest.mark.parametrize("traced", [False, True])
def test_an_infinite_state_ends_where_it_is_not_kept(traced: bool) -> None:
    function = Traced(states_around) if traced else states_around
    added, decay = torch.ones(4, 1, 1), torch.full((4,), 0.5)
    kept, initial = torch.tensor([True, False, True, True]), torch.full((1, 1), torch.inf)
    found = results(function, {"added": added, "decay": decay, "kept": kept, "initial": initial})
    before, after, d_added, d_decay, d_initial = (x.flatten().tolist() for x in found)
    assert (before, after) == ([torch.inf, torch.inf, 1.0, 1.5], [1.75])
    c = torch.cos(torch.arange(4)).tolist()  # the cotangents of the states before; that of the last is 1
    assert d_added == pytest.approx([c[1], c[2] + (c[3] + 0.5) / 2, c[3] + 0.5, 1.0])
    assert d_decay == pytest.approx([math.inf, 0.0, c[3] + 0.5, 1.5])
    assert d_initial == pytest.approx([c[0] + c[1] / 2])
