//! Tests of the dataset container from outside: round trips, vectors, hostile files.

mod hostile;
mod make;
mod roundtrip;
mod vectors;
