//! What code may contain: one bad guest per rule, and the item that the error names.

use como_modules::{ArgSpec, Manifest, ModuleError, StartError};

use crate::support::{Guest, MEMORY_BYTES, admit, manifest};

fn refusal(wasm: &[u8]) -> ModuleError {
    admit(&manifest(), wasm).err().expect("a refusal")
}

fn text(wat: &str) -> Vec<u8> {
    wat::parse_str(wat).expect("a guest that parses")
}

#[test]
fn the_plain_guest_is_admitted_and_survives_its_trial() {
    admit(&manifest(), &Guest::default().wasm())
        .unwrap()
        .trial()
        .unwrap();
}

#[test]
fn what_a_guest_may_not_contain_is_named() {
    let many_locals = format!("(func (local {}))", "i64 ".repeat(2001));
    let many_exports: String = (0..70)
        .map(|i| format!("(global (export \"g{i}\") i32 (i32.const 0))"))
        .collect();
    let with = |extra: &str| {
        Guest {
            extra,
            ..Guest::default()
        }
        .wasm()
    };
    let memory = |memory: &str| {
        Guest {
            memory,
            ..Guest::default()
        }
        .wasm()
    };
    let imports = r#"(module (import "env" "print" (func (param i32))))"#;
    let wide = r#"(module (memory (export "memory") i64 2 2))"#;
    let shared = r#"(module (memory (export "memory") 2 2 shared))"#;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("imports `env.print`", text(imports)),
        ("start function (number 6)", with("(func $s) (start $s)")),
        ("no maximum", memory(r#"(memory (export "memory") 2)"#)),
        (
            "starts with 2 pages and may grow to 3",
            memory(r#"(memory (export "memory") 2 3)"#),
        ),
        (
            "the manifest says 131072",
            memory(r#"(memory (export "memory") 3 3)"#),
        ),
        (
            "1025 pages, the limit is 1024",
            memory(r#"(memory (export "memory") 1025 1025)"#),
        ),
        ("export `memory`: is missing", memory("(memory 2 2)")),
        ("2 memories, the limit is 1", with("(memory 1 1)")),
        ("memory", text(wide)),
        ("threads", text(shared)),
        ("4097 table elements", with("(table 4097 funcref)")),
        ("a tail call", with("(func (return_call 0) drop)").to_vec()),
        ("a reference type", with("(func (drop (ref.null func)))")),
        (
            "relaxed",
            with("(func (param v128) (drop (i8x16.relaxed_swizzle (local.get 0) (local.get 0))))"),
        ),
        ("locals in one function", with(&many_locals)),
        ("exports, the limit is 64", with(&many_exports)),
        (
            "export `memory`: is not a memory",
            memory(r#"(memory 2 2) (global (export "memory") i32 (i32.const 0))"#),
        ),
        (
            "export `como_abi`: is missing",
            text(r#"(module (memory (export "memory") 2 2))"#),
        ),
        (
            "export `merge`: has type () -> () instead of (i32) -> (i32)",
            with(r#"(func (export "merge"))"#),
        ),
        (
            "export `load`: is not a function",
            with(r#"(global (export "load") i32 (i32.const 0))"#),
        ),
        ("wasm, byte ", b"\0asm\x01\0\0\0\x01\xff\xff\xff".to_vec()),
        ("wasm, byte ", Guest::default().wasm()[..60].to_vec()),
        ("wasm, byte ", b"not wasm at all".to_vec()),
    ];
    for (expected, wasm) in cases {
        let error = refusal(&wasm).to_string();
        assert!(error.contains(expected), "`{error}` does not say `{expected}`");
        assert_eq!(error.lines().count(), 2, "`{error}`");
    }
}

#[test]
fn text_in_place_of_binary_is_refused() {
    assert!(matches!(refusal(b"(module)"), ModuleError::Wasm { .. }));
}

#[test]
fn a_filter_that_does_not_parse_is_refused_before_the_code_is_compiled() {
    let bad = Manifest {
        filter: "tcp and and udp".into(),
        ..manifest()
    };
    let error = admit(&bad, &Guest::default().wasm()).err().unwrap();
    assert!(
        matches!(&error, ModuleError::Manifest { field, .. } if field == "filter"),
        "{error}"
    );
}

#[test]
fn names_out_of_a_guest_cannot_write_to_a_terminal() {
    let wasm = text("(module (import \"\\1b[2J\" \"\\07\" (func)))");
    assert!(
        !refusal(&wasm)
            .to_string()
            .contains(|c: char| c.is_control() && c != '\n')
    );
}

#[test]
fn arguments_come_in_order_within_their_ranges() {
    let arg = |name: &str, default| ArgSpec {
        name: name.into(),
        default,
        min: -5,
        max: 100,
        description: String::new(),
        load_only: false,
    };
    let with_args = Manifest {
        args: vec![arg("first", -3), arg("second", 10)],
        ..manifest()
    };
    // Keeps the sum of its two arguments, and the number of their bytes, for store.
    let init =
        "(i64.store (i32.const 65552) (i64.add (i64.load (i32.const 1088)) (i64.load (i32.const 1096))))
        (i32.sub (local.get 0) (i32.const 16))";
    let module = admit(
        &with_args,
        &Guest {
            init,
            ..Guest::default()
        }
        .wasm(),
    )
    .unwrap();
    let value = |args: &[(String, i64)]| {
        let rows = module.instantiate(args).unwrap().store().unwrap();
        rows.columns[0].clone()
    };
    assert_eq!(value(&[]), como_dataset::ColumnData::U64(vec![7]));
    assert_eq!(
        value(&[("first".into(), 20)]),
        como_dataset::ColumnData::U64(vec![30])
    );
    for (name, number) in [("first", 101), ("first", -6), ("third", 0)] {
        let refused = module.instantiate(&[(name.into(), number)]).err();
        assert!(
            matches!(refused, Some(StartError::Argument(ModuleError::Argument { .. }))),
            "{name}={number}"
        );
    }
    assert_eq!(MEMORY_BYTES, with_args.memory_bytes);
}
