//! Tests of como-modules through its public API.
