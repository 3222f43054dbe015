//! Generates the Rust code of every schema from its checked-in request file, so that no
//! `capnp` tool is needed to build. `regenerate.sh` refreshes the request files.
use std::{env, fs::File, path::PathBuf};

const SCHEMAS: [&str; 6] = ["module", "dataset", "trace", "record", "wire", "api"];

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    for name in SCHEMAS {
        let request = format!("schema/{name}.request.bin");
        println!("cargo::rerun-if-changed={request}");
        let file = File::open(&request).unwrap_or_else(|e| panic!("{request}: {e}; run capnp/regenerate.sh"));
        capnpc::codegen::CodeGenerationCommand::new()
            .output_directory(&out)
            .run(file)
            .unwrap_or_else(|e| panic!("{request}: {e}"));
    }
}
