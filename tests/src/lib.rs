//! What the tests, the demo and the benchmarks of the whole system share: fixtures and generated traffic.
//! Must never be a dependency of what is shipped.

pub use como_generate as generate;
pub mod site;
pub mod standard;
pub mod trial;
