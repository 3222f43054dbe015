//! A segment of the trace, whole and in parts, of bytes that nobody vouches for.
#![no_main]

libfuzzer_sys::fuzz_target!(|input: &[u8]| como_node::trace::hostile::parse(input));
