//! The reference of all keys, in one table: the file that `init` writes and docs/configuration.md are
//! both made of it. Must list every key that the sections take; a test compares.

use std::fmt::Write;

/// One section.
struct Section {
    /// As in its header.
    name: &'static str,
    /// What it is about.
    text: &'static str,
    /// Its keys.
    keys: &'static [Key],
}

/// One key.
struct Key {
    name: &'static str,
    /// Its default or, where it must be written, an example; as in TOML.
    value: &'static str,
    kind: Kind,
    /// What it means.
    text: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Must be written.
    Required,
    /// May be left out; then it has this value.
    Default,
    /// May be left out; then there is none, or it depends on other keys. The value is an example.
    Optional,
}

const fn required(name: &'static str, value: &'static str, text: &'static str) -> Key {
    Key {
        name,
        value,
        kind: Kind::Required,
        text,
    }
}
const fn default(name: &'static str, value: &'static str, text: &'static str) -> Key {
    Key {
        name,
        value,
        kind: Kind::Default,
        text,
    }
}
const fn optional(name: &'static str, value: &'static str, text: &'static str) -> Key {
    Key {
        name,
        value,
        kind: Kind::Optional,
        text,
    }
}

const SECTIONS: [Section; 12] = [
    Section {
        name: "node",
        text: "Who this node is.",
        keys: &[
            required(
                "name",
                "\"spiffe://consortium.example/organisation/node\"",
                "SPIFFE id of the node; its first part is the consortium's trust domain.",
            ),
            default(
                "mode",
                "\"restricted\"",
                "Kind of system: `public`, `restricted` or `private`. Each is a complete policy set.",
            ),
            optional(
                "data_dir",
                "\".\"",
                "Folder of keys, registry, trace and results; relative to this file, which lies in it by default.",
            ),
        ],
    },
    Section {
        name: "source",
        text: "Where packets come from: an interface, or a file.",
        keys: &[
            required(
                "kind",
                "\"file\"",
                "`live` for an interface, `file` for a pcap or pcapng file.",
            ),
            optional("interface", "\"eth0\"", "live: the interface."),
            optional(
                "filter",
                "\"\"",
                "live: a libpcap filter of the operator's; packets that do not match are not seen at all.",
            ),
            optional("snaplen", "262144", "live: bytes kept of a packet, 64 to 262144."),
            optional(
                "buffer_bytes",
                "\"64 MiB\"",
                "live: the kernel's ring; larger rides out longer bursts.",
            ),
            optional(
                "promiscuous",
                "true",
                "live: also packets that are not for this machine.",
            ),
            optional(
                "path",
                "\"capture.pcap\"",
                "file: the file; it is ingested exactly once.",
            ),
            optional(
                "paced",
                "false",
                "file: as recorded, instead of as fast as possible.",
            ),
            default(
                "workers",
                "0",
                "Threads that anonymize and seal; 0: one per core.",
            ),
        ],
    },
    Section {
        name: "trace",
        text: "The always-on record of the link: a ring of sealed segments.",
        keys: &[
            default(
                "retain",
                "\"headers\"",
                "Highest level that can ever be read from it: `anonymized`, `headers` or `payload`. What is above is dropped in capture.",
            ),
            optional(
                "ring_bytes",
                "\"32 GiB\"",
                "Disk for the trace; the oldest segment goes first. At least four segments.",
            ),
            optional(
                "max_age",
                "\"14 d\"",
                "How long a segment is kept after it was begun, whatever the room; at least 1 min. Without it: as long as there is room.",
            ),
            default(
                "keep_free_bytes",
                "\"0 B\"",
                "Free space that the disk keeps, whoever uses the rest: the oldest segments go while there is less.",
            ),
            default(
                "segment_bytes",
                "\"256 MiB\"",
                "Size at which a segment is closed; at least 1 MiB.",
            ),
            default(
                "queue_bytes",
                "\"256 MiB\"",
                "Sealed blocks that wait while storage is away; beyond it a live source drops packets and says so.",
            ),
        ],
    },
    Section {
        name: "networks",
        text: "Whom addresses belong to: autonomous systems, for modules that ask for their numbers.",
        keys: &[
            optional(
                "as_table",
                "\"rib.mrt\"",
                "A routing table, unpacked: an MRT dump of a RIB (TABLE_DUMP_V2) or a CAIDA pfx2as table. Looked up in capture; without it no packet has an AS number.",
            ),
            default(
                "as_min_addresses",
                "65536",
                "A system that announces fewer addresses (IPv6: /64 networks) is not named, at no level; at least 256.",
            ),
        ],
    },
    Section {
        name: "records",
        text: "Results of modules that run live.",
        keys: &[
            default(
                "ring_bytes",
                "\"4 GiB\"",
                "Disk for them; the oldest files go first. Each live module's newest file, of 1 MiB, stays.",
            ),
            optional(
                "max_age",
                "\"30 d\"",
                "How long a file of them is kept after it ended; at least 1 min. A file ends with its day, its module or 1 MiB.",
            ),
        ],
    },
    Section {
        name: "query",
        text: "How partners are served.",
        keys: &[
            default("listen", "\"127.0.0.1:8443\"", "Address and port to listen on."),
            optional(
                "url",
                "\"https://node.example.org:8443\"",
                "What partners are told to connect to; by default the address above.",
            ),
            default(
                "result_ttl",
                "\"1 d\"",
                "How long a finished dataset can be fetched; 1 min to 90 d.",
            ),
        ],
    },
    Section {
        name: "query.limits",
        text: "Bounds on what partners ask, all of them together.",
        keys: &[
            default(
                "running",
                "2",
                "Queries that run at once, two processes each; at most 64.",
            ),
            default(
                "waiting",
                "32",
                "Queries that wait; what comes beyond is refused.",
            ),
            default("per_partner", "4", "Queries of one partner, running and waiting."),
            default(
                "result_bytes",
                "\"8 GiB\"",
                "Disk for datasets that wait to be fetched.",
            ),
        ],
    },
    Section {
        name: "modules",
        text: "Which modules may run. Policy decides first; these are bounds on top.",
        keys: &[
            default(
                "allow",
                "[]",
                "Names that may be installed; none: all that policy lets in.",
            ),
            default("max_installed", "64", "Most installed modules."),
            default("max_live", "16", "Most modules that compute live."),
            default(
                "revocation_keys",
                "[]",
                "Ed25519 public keys, 64 hex digits each, whose revocation lists count beside the node's own.",
            ),
            default(
                "sample",
                "1",
                "Live modules see one packet in this many, chosen at random and with that weight; modules that do not look at weights, and the trace, see all.",
            ),
            default(
                "sample_at_most",
                "1",
                "Where live modules do not keep up, they see fewer packets, down to one in this many, before views are shed whole.",
            ),
        ],
    },
    Section {
        name: "metrics",
        text: "Counters for the operator's monitoring, in the Prometheus text format; off by default.",
        keys: &[optional(
            "listen",
            "\"127.0.0.1:9464\"",
            "Address and port of `/metrics`. A loopback address: whoever may use this machine reads the counters.",
        )],
    },
    Section {
        name: "policy",
        text: "The policy set.",
        keys: &[optional(
            "file",
            "\"policies.cedar\"",
            "A complete policy set in Cedar, instead of the one that is shipped for the mode.",
        )],
    },
    Section {
        name: "sandbox",
        text: "How role processes are confined.",
        keys: &[
            default(
                "mode",
                "\"strict\"",
                "`strict`: a role refuses to start where a restriction is unavailable. `best-effort`: it starts, and says what is missing.",
            ),
            default(
                "uid_base",
                "64700",
                "Where the node is started as root, its roles run as this and the next user ids; 0: all as root, without capabilities.",
            ),
        ],
    },
    Section {
        name: "keys",
        text: "What opens the key file.",
        keys: &[optional(
            "root",
            "{ file = \"keys/root.key\" }",
            "The root secret: `{ file = \"...\" }` of mode 0600, `{ credential = \"NAME\" }` from systemd, or `{ passphrase = true }` to be asked at every start.",
        )],
    },
];

/// What a key means, for a hint.
pub(super) fn describe(section: &str, key: &str) -> Option<String> {
    let section = SECTIONS.iter().find(|candidate| candidate.name == section)?;
    let key = section.keys.iter().find(|candidate| candidate.name == key)?;
    Some(format!(
        "{}: {} For example: {} = {}",
        key.name,
        plain(key.text),
        key.name,
        key.value
    ))
}

/// The file that `como-node init` writes: every key with its text; those of `values` (section, key, TOML
/// value) and the required ones are set, the others stand commented out with their default.
pub fn template(values: &[(&str, &str, String)]) -> String {
    let mut text = String::from(
        "# Configuration of a CoMo node. Lines that begin with `#` show defaults and examples.\n\
         # `como-node check` tells what is wrong; docs/configuration.md has the same as a page.\n",
    );
    for section in &SECTIONS {
        let _ = write!(text, "\n# {}\n[{}]\n", section.text, section.name);
        for key in section.keys {
            let set = values
                .iter()
                .find(|(of, name, _)| *of == section.name && *name == key.name)
                .map(|(_, _, value)| value.as_str());
            let _ = writeln!(text, "# {}", plain(key.text));
            let _ = match set.or((key.kind == Kind::Required).then_some(key.value)) {
                Some(value) => writeln!(text, "{} = {value}", key.name),
                None => writeln!(text, "#{} = {}", key.name, key.value),
            };
        }
    }
    text
}

/// docs/configuration.md.
pub fn documentation() -> String {
    let mut text = String::from(
        "# Configuration\n\n\
         A node has one configuration file, `como.toml`, which `como-node init` writes with every key in it.\n\
         Unknown keys, wrong types and values out of range are refused at start with file, line and caret;\n\
         `como-node check` does the same without starting anything. Relative paths count from the file's folder.\n\
         Sizes are whole numbers with `B`, `KiB`, `MiB`, `GiB` or `TiB`; spans of time with `ms`, `s`, `min`, `h` or `d`.\n",
    );
    for section in &SECTIONS {
        let _ = write!(
            text,
            "\n## `[{}]`\n\n{}\n\n| key | default | meaning |\n|---|---|---|\n",
            section.name, section.text
        );
        for key in section.keys {
            let default = match key.kind {
                Kind::Required => "must be written".to_owned(),
                Kind::Default => format!("`{}`", key.value),
                Kind::Optional => format!("e.g. `{}`", key.value),
            };
            let _ = writeln!(text, "| `{}` | {default} | {} |", key.name, key.text);
        }
    }
    text
}

fn plain(text: &str) -> String {
    text.replace('`', "")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use std::path::Path;

    const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/configuration.md");

    #[test]
    fn the_page_in_docs_is_this_table() {
        let page = std::fs::read_to_string(PAGE).unwrap_or_default();
        assert!(
            page == documentation(),
            "docs/configuration.md is not what the table says; run `make regenerate`"
        );
    }

    /// Asks each section for its keys by a key that cannot be, and reads them from the refusal.
    fn keys_taken(section: &str) -> Vec<String> {
        let node = "[node]\nname = \"spiffe://c.example/o/n\"\n";
        let source = "[source]\nkind = \"file\"\n";
        let probe = "zzz = 1\n";
        let text = match section {
            "node" => format!("{node}{probe}{source}"),
            "source" => format!("{node}{source}{probe}"),
            "keys" => format!("{node}{source}[keys]\n{probe}"),
            _ => format!("{node}{source}[{section}]\n{probe}"),
        };
        let error = Config::parse(Path::new("como.toml"), &text)
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("unknown key `zzz` in [{section}]")),
            "{error}"
        );
        let last = error.lines().last().unwrap();
        let known = last
            .strip_prefix("known here: ")
            .unwrap_or_else(|| panic!("{error}"));
        known.split(", ").map(str::to_owned).collect()
    }

    #[test]
    fn the_table_has_exactly_the_keys_that_are_taken() {
        for section in &SECTIONS {
            let mut taken = keys_taken(section.name);
            taken.retain(|key| !(section.name == "query" && key == "limits"));
            let listed: Vec<&str> = section.keys.iter().map(|key| key.name).collect();
            assert_eq!(taken, listed, "[{}]", section.name);
        }
    }

    #[test]
    fn defaults_in_the_table_are_those_of_the_code() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("capture.pcap"), b"").unwrap();
        let file = dir.path().join("como.toml");
        let path = ("source", "path", "\"capture.pcap\"".to_owned());
        let short = Config::parse(&file, &template(std::slice::from_ref(&path))).unwrap();
        let mut all: Vec<(&str, &str, String)> = vec![path];
        for section in &SECTIONS {
            for key in section.keys.iter().filter(|key| key.kind == Kind::Default) {
                all.push((section.name, key.name, key.value.to_owned()));
            }
        }
        all.push(("trace", "ring_bytes", "\"32 GiB\"".to_owned()));
        let long = Config::parse(&file, &template(&all)).unwrap();
        assert_eq!(format!("{short:?}"), format!("{long:?}"));
    }
}
