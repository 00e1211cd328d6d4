"""The conformance suite: cases, judgement, engine, reports, and the two ways to run them."""
