//! Why the arena has columns and not rows: the same two guests, one that needs two fields (lengths and weights) and one
//! that needs seven (these and the 5-tuple), with packets laid down as the requested columns and as rows of 64 bytes.
//! Copying, call and guest together, fuel on, in the engine that nodes use. No product code runs here.

use divan::counter::ItemsCount;
use wasmi::{Config, Engine, Linker, Memory, Module, Store, TypedFunc};

const BATCH: usize = 1024;
const BATCHES: usize = 64;
const ROW_BYTES: usize = 64;
const ARENA: usize = 1024;
const FUEL: u64 = 1 << 40;

fn main() {
    divan::main();
}

/// A packet's fields, in columns, as a view holds them.
struct View {
    wire_len: Vec<u32>,
    weight: Vec<u32>,
    src: Vec<[u8; 16]>,
    dst: Vec<[u8; 16]>,
    ports: [Vec<u16>; 2],
    protocol: Vec<u8>,
}

fn view() -> View {
    let n = BATCH * BATCHES;
    let mix = |i: usize| (i as u32).wrapping_mul(2_654_435_761);
    let address = |i: usize, shift: u32| u128::from(mix(i) >> shift).to_be_bytes();
    View {
        wire_len: (0..n).map(|i| 60 + mix(i) % 1440).collect(),
        weight: vec![1; n],
        src: (0..n).map(|i| address(i, 12)).collect(),
        dst: (0..n).map(|i| address(i, 20)).collect(),
        ports: [16, 8].map(|shift| (0..n).map(|i| (mix(i) >> shift) as u16).collect()),
        protocol: vec![6; n],
    }
}

/// What a guest needs, and how it comes.
#[derive(Clone, Copy, Debug)]
enum Layout {
    Columns,
    Rows,
}

struct Guest {
    store: Store<()>,
    memory: Memory,
    update: TypedFunc<i32, i32>,
}

impl Guest {
    /// `body` is run for every packet; `$i` is its number.
    fn new(body: &str) -> Self {
        let text = format!(
            r#"(module (memory (export "memory") 4 4) (global $sum (mut i64) (i64.const 0))
            (func (export "update") (param $n i32) (result i32) (local $i i32)
                (loop $packet {body}
                    (local.set $i (i32.add (local.get $i) (i32.const 1)))
                    (br_if $packet (i32.lt_u (local.get $i) (local.get $n))))
                (i32.const 0)))"#
        );
        let mut config = Config::default();
        config.consume_fuel(true);
        let engine = Engine::new(&config);
        let module = Module::new(&engine, wat::parse_str(text).expect("it assembles")).expect("it compiles");
        let mut store = Store::new(&engine, ());
        store.set_fuel(FUEL).expect("fuel is on");
        let instance = Linker::new(&engine)
            .instantiate_and_start(&mut store, &module)
            .expect("it starts");
        Self {
            memory: instance.get_memory(&store, "memory").expect("its memory"),
            update: instance.get_typed_func(&store, "update").expect("its update"),
            store,
        }
    }

    fn update(&mut self) {
        self.store.set_fuel(FUEL).expect("fuel is on");
        self.update.call(&mut self.store, BATCH as i32).expect("no trap");
    }
}

/// `(load OFFSET)` of a field at `$i`: column `at` of `width` bytes, or place `at` of a row.
fn field(layout: Layout, load: &str, at: usize, width: usize) -> String {
    match layout {
        Layout::Columns => {
            let offset = ARENA + at;
            format!("({load} offset={offset} (i32.mul (local.get $i) (i32.const {width})))")
        }
        Layout::Rows => {
            let offset = ARENA + at;
            format!("({load} offset={offset} (i32.mul (local.get $i) (i32.const {ROW_BYTES})))")
        }
    }
}

fn add(value: &str) -> String {
    format!("(global.set $sum (i64.add (global.get $sum) {value}))")
}

/// Lays down one field of a batch.
fn lay<T: Copy, const N: usize>(
    memory: &mut [u8],
    layout: Layout,
    at: usize,
    values: &[T],
    bytes: fn(T) -> [u8; N],
) {
    let step = match layout {
        Layout::Columns => N,
        Layout::Rows => ROW_BYTES,
    };
    let places = memory[ARENA + at..].chunks_mut(step);
    for (place, value) in places.zip(values) {
        place[..N].copy_from_slice(&bytes(*value));
    }
}

/// Where each field stands: in columns of a batch one after the other, in rows beside each other.
fn at(layout: Layout, column: usize, row: usize) -> usize {
    match layout {
        Layout::Columns => column * BATCH,
        Layout::Rows => row,
    }
}

/// Lengths and weights. Rows bring everything, as rows do: who needs less cannot say so.
#[divan::bench(args = [Layout::Columns, Layout::Rows])]
fn two_fields(bencher: divan::Bencher<'_, '_>, layout: Layout) {
    let length = field(layout, "i64.load32_u", at(layout, 0, 0), 4);
    let weight = field(layout, "i64.load32_u", at(layout, 4, 4), 4);
    run(bencher, layout, &add(&format!("(i64.mul {length} {weight})")), 2);
}

/// Lengths and weights, and a sum over the 5-tuple.
#[divan::bench(args = [Layout::Columns, Layout::Rows])]
fn seven_fields(bencher: divan::Bencher<'_, '_>, layout: Layout) {
    let length = field(layout, "i64.load32_u", at(layout, 0, 0), 4);
    let weight = field(layout, "i64.load32_u", at(layout, 4, 4), 4);
    let mut body = add(&format!("(i64.mul {length} {weight})"));
    for (column, row) in [(8, 8), (24, 24)] {
        for half in [0, 8] {
            body += &add(&field(layout, "i64.load", at(layout, column, row) + half, 16));
        }
    }
    for (column, row) in [(40, 40), (42, 42)] {
        body += &add(&field(layout, "i64.load16_u", at(layout, column, row), 2));
    }
    body += &add(&field(layout, "i64.load8_u", at(layout, 44, 44), 1));
    run(bencher, layout, &body, 7);
}

fn run(bencher: divan::Bencher<'_, '_>, layout: Layout, body: &str, fields: usize) {
    let (view, mut guest) = (view(), Guest::new(body));
    let all = matches!(layout, Layout::Rows) || fields > 2;
    bencher.counter(ItemsCount::new(BATCH * BATCHES)).bench_local(|| {
        for batch in 0..BATCHES {
            let range = batch * BATCH..(batch + 1) * BATCH;
            let memory = guest.memory.data_mut(&mut guest.store);
            lay(
                memory,
                layout,
                at(layout, 0, 0),
                &view.wire_len[range.clone()],
                u32::to_le_bytes,
            );
            lay(
                memory,
                layout,
                at(layout, 4, 4),
                &view.weight[range.clone()],
                u32::to_le_bytes,
            );
            if all {
                lay(memory, layout, at(layout, 8, 8), &view.src[range.clone()], |v| v);
                lay(
                    memory,
                    layout,
                    at(layout, 24, 24),
                    &view.dst[range.clone()],
                    |v| v,
                );
                lay(
                    memory,
                    layout,
                    at(layout, 40, 40),
                    &view.ports[0][range.clone()],
                    u16::to_le_bytes,
                );
                lay(
                    memory,
                    layout,
                    at(layout, 42, 42),
                    &view.ports[1][range.clone()],
                    u16::to_le_bytes,
                );
                lay(
                    memory,
                    layout,
                    at(layout, 44, 44),
                    &view.protocol[range.clone()],
                    u8::to_le_bytes,
                );
            }
            guest.update();
        }
    });
}
