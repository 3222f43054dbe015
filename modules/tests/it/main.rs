//! Tests of como-modules through its public API: trust, admission, hostile guests, intervals, and the
//! standard modules as compiled guests against the same code run natively.

mod admission;
mod hostile;
mod intervals;
mod kit;
mod standard;
mod support;
mod trust;
