//! Tests of como-modules through its public API: trust, admission, hostile guests, intervals, and the
//! standard modules as compiled guests: against the same code run natively, and against oracles that share no code with them.

mod admission;
mod answers;
mod binary;
mod catalogue;
mod examples;
mod generated;
mod hostile;
mod intervals;
mod kit;
mod oracle;
mod requested;
mod standard;
mod support;
mod torture;
mod trust;
