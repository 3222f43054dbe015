//! Guests that nobody wrote: wasm-smith makes them from seeds, in thousands, and each ends in a clean verdict
//! within its fuel. Owns how guests are generated and driven; never reads a clock: what bounds the time is fuel.
//!
//! `COMO_GENERATED_GUESTS` is how many (`make torture` takes more than `make test`), `COMO_GENERATED_SEED` the first
//! seed: a failure names the one to start with.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};

use arbitrary::{Arbitrary, Unstructured};
use como_anonymize::{Bitmap, View};
use como_modules::{Callback, FaultKind, Instance, Rows, StartError, limits};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use wasm_smith::{Config, Module};
use wasmparser::{ExternalKind, Parser, Payload};

use crate::binary;
use crate::hostile::suite::check_message;
use crate::intervals::MIX;
use crate::support::{Guest, admit, manifest, packets, start};

const GUESTS: u64 = 2000;
/// Random bytes that a guest is made of.
const BYTES: Range<usize> = 64..6000;
/// Rounds of one full batch and one `store`.
const ROUNDS: usize = 2;

/// How far guests came.
#[derive(Default, Debug)]
struct Tally {
    refused: u64,
    not_started: u64,
    stopped: u64,
    ran: u64,
}

#[test]
fn thousands_of_generated_guests_each_end_in_a_verdict_within_their_fuel() {
    let number = |name: &str, default| match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|e| panic!("{name}: {e}")),
        Err(_) => default,
    };
    let first: u64 = number("COMO_GENERATED_SEED", 0);
    let guests: u64 = number("COMO_GENERATED_GUESTS", GUESTS);
    let neighbourhood = Neighbourhood::new();
    let mut tally = Tally::default();
    for seed in first..first + guests {
        let wasm = generate(seed);
        let run = AssertUnwindSafe(|| neighbourhood.verdict(&wasm, &mut tally));
        if catch_unwind(run).is_err() {
            panic!("seed {seed}: start there with COMO_GENERATED_SEED={seed} COMO_GENERATED_GUESTS=1");
        }
    }
    println!("{tally:?}");
    // A generator whose guests all fail at the same gate would test nothing behind it.
    if guests >= GUESTS {
        for (gate, count) in [
            ("refused", tally.refused),
            ("not started", tally.not_started),
            ("stopped", tally.stopped),
            ("ran", tally.ran),
        ] {
            assert!(count >= guests / 100, "{gate}: {tally:?}");
        }
    }
}

/// A well-behaved guest, and what it stores where nobody runs beside it.
struct Neighbourhood {
    view: View,
    expected: Vec<Rows>,
}

impl Neighbourhood {
    fn new() -> Self {
        let view = packets(limits::BATCH_MAX_PACKETS);
        let mut alone = neighbour();
        let expected = (0..ROUNDS).map(|_| round(&mut alone, &view).expect("no fault"));
        Self {
            expected: expected.collect(),
            view,
        }
    }

    /// Runs one guest beside the neighbour.
    fn verdict(&self, wasm: &[u8], tally: &mut Tally) {
        let mut good = neighbour();
        let mut guest = match admit(&manifest(), wasm) {
            Err(error) => {
                check_message(&error.to_string()).expect("a message for people");
                tally.refused += 1;
                None
            }
            Ok(admitted) => match admitted.instantiate(&[]) {
                Err(StartError::Argument(error)) => panic!("there are no arguments: {error}"),
                Err(StartError::Fault(fault)) => {
                    assert!(
                        matches!(fault.callback, Callback::Instantiate | Callback::Init),
                        "{fault}"
                    );
                    tally.not_started += 1;
                    None
                }
                Ok(instance) => Some(instance),
            },
        };
        for expected in &self.expected {
            if let Some(instance) = &mut guest
                && let Err(fault) = round(instance, &self.view)
            {
                check_budget(&fault.kind);
                assert_eq!(instance.store(), Err(fault), "a stopped instance stays stopped");
            }
            let rows = round(&mut good, &self.view).expect("the neighbour has no fault");
            assert_eq!(&rows, expected, "it changed its neighbour's rows");
        }
        if let Some(instance) = guest {
            check_usage(&instance);
            match instance.fault() {
                Some(_) => tally.stopped += 1,
                None => tally.ran += 1,
            }
        }
    }
}

fn neighbour() -> Instance {
    let guest = Guest {
        update: MIX,
        ..Guest::default()
    };
    start(&manifest(), &guest.wasm()).expect("the neighbour starts")
}

fn round(instance: &mut Instance, view: &View) -> Result<Rows, como_modules::Fault> {
    instance.update(view, &Bitmap::all(limits::BATCH_MAX_PACKETS))?;
    instance.store()
}

fn check_budget(kind: &FaultKind) {
    if let FaultKind::OutOfFuel { budget } = kind {
        assert!([limits::FUEL_PER_BATCH, limits::FUEL_PER_CALLBACK].contains(budget));
    }
}

/// `init`, and at most one batch and one `store` a round, each within its budget.
fn check_usage(instance: &Instance) {
    let rounds = ROUNDS as u64;
    let most = limits::FUEL_PER_CALLBACK * (1 + rounds) + limits::FUEL_PER_BATCH * rounds;
    let usage = instance.usage();
    assert!(usage.fuel <= most, "{usage:?}");
    assert_eq!(usage.memory_bytes, u64::from(manifest().memory_bytes));
}

/// The guest of a seed. One of eight is whatever wasm-smith likes; the others have the exports of the ABI, and
/// the further functions are put right, the further they get.
fn generate(seed: u64) -> Vec<u8> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut bytes = vec![0u8; rng.random_range(BYTES)];
    rng.fill(&mut bytes[..]);
    let mut unstructured = Unstructured::new(&bytes);
    if seed.is_multiple_of(8) {
        let config = Config::arbitrary(&mut unstructured).expect("enough bytes");
        return module(config, &mut unstructured);
    }
    let wasm = module(shaped(seed), &mut unstructured);
    let put_right: &[(&str, i32)] = &[
        ("como_abi", 1),
        ("como_arena", 1024),
        ("como_output", 65_536),
        ("init", 0),
        ("update", 0),
        ("store", 16),
    ];
    let count = match seed % 8 {
        1 => 0,
        2 => 3,
        3 | 4 => 4,
        5 | 6 => 5,
        _ => 6,
    };
    return_constants(&wasm, &put_right[..count])
}

fn module(config: Config, unstructured: &mut Unstructured<'_>) -> Vec<u8> {
    Module::new(config, unstructured)
        .expect("it takes zeros where bytes run out")
        .to_bytes()
}

/// Guests of the features that a node runs, and now and then of one that it does not.
fn shaped(seed: u64) -> Config {
    let odd = seed.is_multiple_of(11);
    Config {
        exports: Some(Guest::default().wasm()),
        max_imports: 0,
        // The one that is exported is there beside these.
        max_memories: 0,
        max_table_elements: 64,
        max_funcs: 12,
        max_instructions: 400,
        max_type_size: 20,
        max_tags: 0,
        max_exports: 0,
        allow_start_export: odd,
        reference_types_enabled: odd,
        tail_call_enabled: odd,
        exceptions_enabled: false,
        gc_enabled: false,
        relaxed_simd_enabled: false,
        memory64_enabled: false,
        threads_enabled: false,
        extended_const_enabled: false,
        compact_imports_enabled: false,
        ..Config::default()
    }
}

/// The code with other bodies for these exports: each returns its constant, at once.
fn return_constants(wasm: &[u8], constants: &[(&str, i32)]) -> Vec<u8> {
    let mut sections = binary::split(wasm);
    let at = binary::place(&sections, binary::CODE);
    let mut bodies = binary::bodies(&sections[at].1);
    for (index, name) in exported_functions(wasm) {
        if let Some((_, value)) = constants.iter().find(|(wanted, _)| *wanted == name) {
            // There are no imports, so that the index counts bodies.
            bodies[index] = constant_body(*value);
        }
    }
    sections[at].1 = binary::code(&bodies);
    binary::join(&sections)
}

fn exported_functions(wasm: &[u8]) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for payload in Parser::new(0).parse_all(wasm) {
        if let Payload::ExportSection(exports) = payload.expect("wasm-smith writes what parses") {
            let exports = exports.into_iter().map(|export| export.expect("an export"));
            let functions = exports.filter(|export| export.kind == ExternalKind::Func);
            found.extend(functions.map(|export| (export.index as usize, export.name.to_string())));
        }
    }
    found
}

/// No locals; `i32.const`, whose number is signed; `end`.
fn constant_body(value: i32) -> Vec<u8> {
    assert!(value >= 0, "a sign would need other bytes");
    let mut number = binary::leb128(value as u32);
    if let Some(last) = number.last_mut()
        && *last & 0x40 != 0
    {
        *last |= 0x80;
        number.push(0);
    }
    [&[0, 0x41], &number[..], &[0x0b]].concat()
}
