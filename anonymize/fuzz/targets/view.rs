//! Dissection and every treatment on bytes from outside, with the check of `tests/it/oracle.rs`: no panic, no address
//! of a packet in its own output, the output a packet of the same layers.
#![no_main]

#[path = "../../tests/it/oracle.rs"]
#[allow(dead_code, reason = "tests use more of it")]
mod oracle;

libfuzzer_sys::fuzz_target!(|input: &[u8]| oracle::check_input(input));
