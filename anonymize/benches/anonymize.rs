//! Micro benchmarks of the hot path. Timing lives here, never in tests.

fn main() {
    divan::main();
}
