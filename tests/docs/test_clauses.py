"""Clauses of the specification: each stands in the docs once, and each is held by a case or a test."""

import ast
import inspect
import re
from functools import cache
from pathlib import Path

import pytest

import ssm_spec
from ssm_backends import OPERATORS
from ssm_conformance.cases import catalogue

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "semantics.md").read_text()
DEFINED = re.findall(r"^- \*\*([a-z0-9-]+-\d+)\*\* ", PAGE, re.MULTILINE)
CITED = {case.clause for case in catalogue("full")}
CITATION = re.compile(r"([a-z0-9-]+-\d+): \S")

SPEC = "tests/spec/test_"
MEANING = f"{SPEC}selective_scan_meaning.py::"
EVERY = f"{SPEC}every_operator.py::"
STEP = f"{SPEC}selective_state_update.py::"
LINEAR = f"{SPEC}lti_semantics.py::"
STARTS = f"{SPEC}initialisations.py::"
CONV1D = f"{SPEC}causal_conv1d.py::"
SSD = f"{SPEC}ssd.py::"
S4 = f"{SPEC}s4_kernel.py::"
MEMORY = f"{SPEC}legs_memory.py::"
MAMBA3 = f"{SPEC}mamba3_siso.py::"
BLOCK = f"{SPEC}mamba_block.py::"
CONTINUOUS = f"{SPEC}continuous.py::"
H3 = f"{SPEC}h3.py::"

HELD_BY_TEST = {
    "common-1": f"{EVERY}test_half_precision_inputs_stand_for_their_exact_numbers",
    "common-2": f"{EVERY}test_empty_and_single_sizes_are_values",
    "common-3": f"{SPEC}lti_exact.py::test_recurrence",
    "common-4": f"{MEANING}test_elements_beyond_the_range_of_the_type_are_not_judged",
    "common-6": f"{EVERY}test_inputs_are_read_in_any_layout_and_never_written",
    "common-7": f"{EVERY}test_a_bad_argument_is_named_by_a_typed_error",
    "zoh-2": f"{LINEAR}test_singular_and_zero_matrices_are_held_like_any_other",
    "zoh-3": f"{LINEAR}test_a_mode_at_zero_has_its_limits",
    "zoh-4": f"{SPEC}lti_exact.py::test_legs_is_right_in_every_entry",
    "zoh-5": f"{LINEAR}test_systems_broadcast_and_their_gradients_come_back",
    "bilinear-2": f"{SPEC}lti_exact.py::test_bilinear",
    "bilinear-3": f"{LINEAR}test_a_singular_implicit_step_is_an_error_that_names_its_size",
    "recurrence-2": f"{SPEC}lti_exact.py::test_recurrence",
    "recurrence-3": f"{LINEAR}test_empty_sizes_are_values",
    "recurrence-4": f"{SPEC}associative_scan.py::test_the_orders_are_one_function",
    "kernel-2": f"{LINEAR}test_the_recurrence_is_its_kernel_and_its_initial_state",
    "conv-2": f"{SPEC}lti_exact.py::test_convolution",
    "continuous-1": f"{CONTINUOUS}test_slips_leave_the_bound",
    "continuous-2": f"{CONTINUOUS}test_the_forms_of_one_system_agree",
    "continuous-3": f"{CONTINUOUS}test_singular_systems_and_no_time_are_no_exceptions",
    "continuous-4": f"{CONTINUOUS}test_the_response_lies_within_its_own_bound",
    "impulse-1": f"{CONTINUOUS}test_impulse_and_step_lie_within_their_own_bounds",
    "impulse-2": f"{CONTINUOUS}test_bad_arguments_are_named",
    "step-response-1": f"{CONTINUOUS}test_impulse_and_step_lie_within_their_own_bounds",
    "associative-1": f"{SPEC}associative_scan.py::test_every_order_lies_within_its_own_bound",
    "associative-2": f"{SPEC}associative_scan.py::test_the_orders_are_one_function",
    "associative-4": f"{SPEC}associative_scan.py::test_work_and_depth",
    "associative-3": f"{SPEC}associative_scan.py::test_slips_leave_the_bound",
    "legs-2": f"{LINEAR}test_legs_is_correctly_rounded",
    "legt-1": f"{STARTS}test_legt_remembers_a_window",
    "legt-2": f"{STARTS}test_legt_is_right_to_two_units",
    "legt-3": f"{STARTS}test_a_window_has_a_positive_length",
    "lagt-1": f"{STARTS}test_lagt_fades_as_laguerre_polynomials",
    "fout-1": f"{STARTS}test_fout_remembers_a_window_in_cosines_and_sines",
    "fout-2": f"{STARTS}test_bad_sizes_are_refused",
    "nplr-1": f"{STARTS}test_the_normal_part_and_the_rank_one_give_legs_back",
    "nplr-2": f"{STARTS}test_the_normal_part_and_the_rank_one_give_legs_back",
    "nplr-3": f"{STARTS}test_bad_sizes_are_refused",
    "nplr-4": f"{STARTS}test_the_normal_part_and_the_rank_one_give_legs_back",
    "s4d-legs-1": f"{STARTS}test_the_modes_of_legs_are_right_to_the_last_digits",
    "s4d-legs-2": f"{STARTS}test_the_modes_of_legs_are_right_to_the_last_digits",
    "s4d-legs-3": f"{STARTS}test_bad_sizes_are_refused",
    "s4d-inv-1": f"{STARTS}test_the_closed_modes_are_right_to_a_few_units",
    "s4d-lin-1": f"{STARTS}test_the_closed_modes_are_right_to_a_few_units",
    "s4d-1": f"{SPEC}s4d.py::test_the_layer_lies_within_its_own_bound",
    "s4d-2": f"{SPEC}s4d.py::test_the_layer_lies_within_its_own_bound",
    "s4d-3": f"{SPEC}s4d.py::test_euler_for_zero_order_hold_leaves_the_bound",
    "s4d-4": f"{SPEC}s4d.py::test_slips_leave_the_bound",
    "s4d-5": f"{SPEC}s4d.py::test_nothing_happens_in_no_time",
    "s4d-kernel-1": f"{SPEC}s4d.py::test_the_kernel_lies_within_its_own_bound",
    "s4d-kernel-2": f"{SPEC}s4d.py::test_kernel_and_convolution_are_the_layer",
    "s4d-kernel-3": f"{SPEC}s4d.py::test_the_kernel_lies_within_its_own_bound",
    "s4-1": f"{S4}test_it_is_the_kernel_of_legs",
    "s4-2": f"{S4}test_the_kernel_lies_within_its_own_bound",
    "s4-3": f"{S4}test_slips_leave_the_bound",
    "s4-4": f"{S4}test_the_generating_function_is_the_dense_kernel",
    "compress-1": f"{MEMORY}test_compression_lies_within_its_own_bound",
    "compress-2": f"{MEMORY}test_exact_compression_is_projection_onto_legendre_polynomials",
    "compress-3": f"{MEMORY}test_nothing_is_remembered_of_nothing",
    "reconstruct-1": f"{MEMORY}test_reconstruction_lies_within_its_own_bound",
    "lssl-1": f"{SPEC}lssl_s5.py::test_lssl_lies_within_its_own_bound",
    "lssl-2": f"{SPEC}lssl_s5.py::test_lssl_lies_within_its_own_bound",
    "lssl-3": f"{SPEC}lssl_s5.py::test_lssl_lies_within_its_own_bound",
    "lssl-4": f"{SPEC}lssl_s5.py::test_nothing_happens_in_no_time",
    "s5-1": f"{SPEC}lssl_s5.py::test_s5_lies_within_its_own_bound",
    "s5-2": f"{SPEC}lssl_s5.py::test_s5_lies_within_its_own_bound",
    "s5-3": f"{SPEC}lssl_s5.py::test_s5_lies_within_its_own_bound",
    "s5-4": f"{SPEC}lssl_s5.py::test_s5_lies_within_its_own_bound",
    "s5-5": f"{SPEC}lssl_s5.py::test_nothing_happens_in_no_time",
    "scan-10": f"{SPEC}selective_scan_exact.py::test_values_and_gradients_lie_within_the_oracles_own_bound",
    "scan-11": f"{MEANING}test_delta_zero_holds_and_a_zero_rate_integrates",
    "step-3": f"{STEP}test_in_place_writes_named_slots_in_the_states_own_precision",
    "conv1d-1": f"{CONV1D}test_c3_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
    "h3-1": f"{H3}test_h3_lies_within_its_own_bound",
    "h3-2": f"{H3}test_slips_leave_the_bound",
    "h3-3": f"{H3}test_h3_lies_within_its_own_bound",
    "h3-4": f"{H3}test_slips_leave_the_bound",
    "conv1d-2": f"{CONV1D}test_c2_nothing_crosses_a_reset_not_even_a_nan",
    "conv1d-3": f"{CONV1D}test_c3_c4_the_state_of_short_and_of_young_sequences",
    "conv1d-4": f"{CONV1D}test_c3_c4_the_state_of_short_and_of_young_sequences",
    "conv1d-5": f"{CONV1D}test_values_and_gradients_lie_within_the_oracles_own_bound",
    "conv1d-step-1": f"{CONV1D}test_c3_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
    "ssd-1": f"{SSD}test_c1_c2_the_clamp_is_always_there_and_has_slope_one_at_a_limit",
    "ssd-2": f"{SSD}test_c1_c2_the_clamp_is_always_there_and_has_slope_one_at_a_limit",
    "ssd-3": f"{SSD}test_c3_heads_follow_their_groups_in_order",
    "ssd-4": f"{SSD}test_values_and_gradients_lie_within_the_oracles_own_bound",
    "ssd-5": f"{SSD}test_c5_packed_is_separate_gradients_too",
    "ssd-6": f"{SSD}test_c5_c6_an_empty_length_hands_the_states_on_and_no_gate_reaches_them",
    "ssd-7": f"{SSD}test_the_chunked_dual_form_is_the_recurrent_one",
    "ssd-step-1": f"{SSD}test_c5_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
    "block-1": f"{BLOCK}test_c1_to_c4_a_wrong_block_leaves_it",
    "block-2": f"{BLOCK}test_c1_to_c4_a_wrong_block_leaves_it",
    "block-3": f"{BLOCK}test_c1_to_c4_a_wrong_block_leaves_it",
    "block-4": f"{BLOCK}test_c1_to_c4_a_wrong_block_leaves_it",
    "block-5": f"{BLOCK}test_c5_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
    "block-step-1": f"{BLOCK}test_c5_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
    "mamba3-1": f"{MAMBA3}test_c1_to_c4_a_wrong_kernel_leaves_it",
    "mamba3-2": f"{MAMBA3}test_c1_to_c4_a_wrong_kernel_leaves_it",
    "mamba3-3": f"{MAMBA3}test_values_lie_within_the_oracles_own_bound",
    "mamba3-4": f"{MAMBA3}test_c4_packed_is_separate_and_nothing_crosses_a_reset",
    "mamba3-5": f"{MAMBA3}test_c2_c5_turns_of_a_whole_circle_change_nothing_and_the_step_has_bounds",
    "mamba3-6": f"{MAMBA3}test_values_lie_within_the_oracles_own_bound",
    "mamba3-step-1": f"{MAMBA3}test_c4_a_split_at_every_k_is_the_whole_and_so_is_a_chain_of_steps",
}
"""Clause → the test that goes red if the oracle breaks it, where no case of the suite asks for it."""


def id_of(clause: str) -> str:
    """The id before the colon of a case's clause."""
    found = CITATION.match(clause)
    assert found, f"a clause reads 'id: what it says'; got {clause!r}"
    return found[1]


@cache
def functions_of(path: str) -> frozenset[str]:
    """Names of the functions of a test module."""
    tree = ast.parse((ROOT / path).read_text())
    return frozenset(node.name for node in tree.body if isinstance(node, ast.FunctionDef))


def sections() -> dict[str, str]:
    """Operator → its part of the page."""
    parts = re.split(r"^### `(\w+)`$", PAGE, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_an_id_is_given_once_and_ids_count_from_one() -> None:
    assert len(DEFINED) == len(set(DEFINED))
    families: dict[str, list[int]] = {}
    for family, number in (clause.rsplit("-", 1) for clause in DEFINED):
        families.setdefault(family, []).append(int(number))
    assert {family: list(range(1, len(n) + 1)) for family, n in families.items()} == families


def test_every_clause_that_a_case_cites_is_in_the_docs() -> None:
    assert {id_of(clause) for clause in CITED} <= set(DEFINED)


def test_every_clause_is_held_by_a_case_or_by_a_test() -> None:
    held = {id_of(clause) for clause in CITED} | HELD_BY_TEST.keys()
    assert [clause for clause in DEFINED if clause not in held] == []


@pytest.mark.parametrize("clause", HELD_BY_TEST)
def test_the_test_that_holds_a_clause_exists(clause: str) -> None:
    assert clause in DEFINED
    path, name = HELD_BY_TEST[clause].split("::")
    assert name in functions_of(path)


def test_every_operator_has_its_clauses() -> None:
    found = sections()
    assert found.keys() == ssm_spec.REFERENCES.keys()
    assert [name for name, text in found.items() if "- **" not in text] == []
    assert OPERATORS.keys() <= found.keys()


def test_every_public_function_is_an_operators_or_has_a_clause() -> None:
    kinds = ("", "_vjp", "_bounds", "_vjp_bounds")
    of_operators = {f"{name}{kind}" for name in ssm_spec.REFERENCES for kind in kinds}
    functions = {name for name in ssm_spec.__all__ if inspect.isfunction(getattr(ssm_spec, name))}
    named = set(re.findall(r"`(\w+)`", PAGE))
    assert functions - of_operators <= named


@pytest.mark.parametrize("name", sections())
def test_the_numbers_in_a_docstring_are_those_of_the_page(name: str) -> None:
    """A docstring's (C2) is the clause of that number in its operator's section."""
    numbers = set(re.findall(r"\(C(\d+)\)", ssm_spec.REFERENCES[name].value.__doc__ or ""))
    here = {clause.rsplit("-", 1)[1] for clause in re.findall(r"- \*\*([a-z0-9-]+)\*\*", sections()[name])}
    assert numbers <= here
