//! Micro benches: every figure as a ratio within one interleaved run.
