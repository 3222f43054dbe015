//! What the operator reads when the configuration is wrong, word for word.

use std::path::Path;

use super::Config;

const GOOD: &str =
    "[node]\nname = \"spiffe://c.example/o/n\"\n[source]\nkind = \"live\"\ninterface = \"eth0\"\n";

fn refused(text: &str) -> String {
    Config::parse(Path::new("como.toml"), text)
        .unwrap_err()
        .to_string()
}

#[test]
fn the_smallest_configuration_is_taken() {
    let config = Config::parse(Path::new("/srv/como/como.toml"), GOOD).unwrap();
    assert_eq!(config.node.data_dir, Path::new("/srv/como"));
    assert_eq!(config.query.url, "https://127.0.0.1:8443");
    assert_eq!(config.sandbox.uid_base, 64_700);
}

#[test]
fn a_typo_is_shown_where_it_stands() {
    assert_eq!(
        refused(&format!("{GOOD}\n[trace]\nretian = \"headers\"\n")),
        "como.toml:8:1: unknown key `retian` in [trace]\n  \
         |\n8 | retian = \"headers\"\n  | ^^^^^^\ndid you mean `retain`?"
    );
}

#[test]
fn a_wrong_value_is_shown_where_it_stands() {
    assert_eq!(
        refused(&format!("{GOOD}\n[query]\nlisten = \"8443\"\n")),
        "como.toml:8:10: `8443` is not an address with a port\n  \
         |\n8 | listen = \"8443\"\n  |          ^^^^^^\n\
         write an IP address and a port, as in \"0.0.0.0:8443\" or \"[::]:8443\""
    );
    assert_eq!(
        refused(&format!("{GOOD}\n[query.limits]\nrunning = 0 # none\n")),
        "como.toml:8:11: running is 0, outside 1 to 64\n  \
         |\n8 | running = 0 # none\n  |           ^\n\
         leave the line out to have the default"
    );
}

#[test]
fn a_wrong_type_is_shown_where_it_stands() {
    let text = refused(&format!("{GOOD}\n[source_]\n"));
    assert!(text.contains("did you mean `source`?"), "{text}");
    let text = refused(&format!("{GOOD}workers = \"two\"\n"));
    assert!(
        text.starts_with("como.toml:6:11: invalid type: string \"two\""),
        "{text}"
    );
    assert!(text.contains("\n  |           ^^^^^\nworkers: Threads"), "{text}");
    let text = refused(&format!("{GOOD}buffer_bytes = \"64 MB\"\n"));
    assert!(
        text.starts_with("como.toml:6:16: `64 MB` is not a size"),
        "{text}"
    );
}

#[test]
fn values_that_cannot_work_are_refused() {
    for (rest, words) in [
        ("snaplen = 10\n", "snaplen is 10, outside 64 to 262144"),
        ("path = \"x.pcap\"\n", "`path` means nothing for a live source"),
        (
            "[trace]\nretain = \"coarse\"\n",
            "a trace cannot be kept at `coarse`",
        ),
        ("[trace]\nring_bytes = \"300 MiB\"\n", "fewer than 4 segments"),
        ("[trace]\nsegment_bytes = \"1 KiB\"\n", "too small"),
        ("[records]\nring_bytes = 1\n", "too small"),
        ("[query]\nurl = \"http://x\"\n", "is not the address of a node"),
        ("[query]\nresult_ttl = \"1 s\"\n", "outside 1 min to 90 d"),
        ("[modules]\nmax_live = 65\n", "more modules may be live"),
        ("[policy]\nfile = \"absent.cedar\"\n", "is not a file"),
        ("[sandbox]\nmode = \"lax\"\n", "is not one of the values"),
        ("[sandbox]\nuid_base = 33\n", "is not free"),
        (
            "[keys]\nroot = { file = \"a\", passphrase = true }\n",
            "one place",
        ),
        ("[keys\n", "como.toml:6"),
        ("interface = \"eth1\"\n", "duplicate key"),
    ] {
        let text = refused(&format!("{GOOD}{rest}"));
        assert!(text.contains(words), "{rest}: {text}");
        assert!(text.contains('^'), "{text}");
    }
    let missing = refused("[node]\n[source]\nkind = \"live\"\ninterface = \"eth0\"\n");
    assert!(missing.contains("`name` is missing"), "{missing}");
    let missing = refused("[node]\nname = \"spiffe://c.example/o/n\"\n[source]\nkind = \"live\"\n");
    assert!(
        missing.contains("a live source needs an `interface`"),
        "{missing}"
    );
}

proptest::proptest! {
    #[test]
    fn no_text_makes_it_panic(text in "\\PC{0,200}", at in 0usize..GOOD.len()) {
        let _ = Config::parse(Path::new("como.toml"), &text);
        let at = GOOD.floor_char_boundary(at);
        let _ = Config::parse(Path::new("como.toml"), &format!("{}{text}{}", &GOOD[..at], &GOOD[at..]));
    }
}
