//! What the tests, the demo and the benchmarks of the whole system share: fixtures and generated traffic.
//! Must never be a dependency of what is shipped.

pub mod generate;
pub mod site;
pub mod trial;
