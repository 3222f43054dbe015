//! Every text of the command line that needs no node, as data files: `tests/cmd/*.toml` and `*.md`.
//! `TRYCMD=overwrite cargo test -p como-client --test cli` writes what is printed now; read the diff.

#[test]
fn command_line_cases() {
    let cases = trycmd::TestCases::new();
    // A person's own keys must not change the cases.
    cases.env("XDG_CONFIG_HOME", "");
    cases
        .env("HOME", "/nonexistent")
        .case("tests/cmd/*.toml")
        .case("tests/cmd/*.md");
}
