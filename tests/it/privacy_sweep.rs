//! The privacy sweep: a capture full of planted secrets goes the whole way, and then everything that may not hold
//! one is searched: the disk, the logs, the datasets below a secret's level, the memory of processes.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use como_keys::keyring::{Keyring, Section, mapping_epoch, sealing_epoch};
use como_node::config::Config;
use como_node::trace::{BLOCK_HEADER_BYTES, BlockKind, ScanEnd, SegmentReader};
use como_savefile::{Packet, Resolution, Writer};

use super::harness::{Cell, Deployment, Node, Person, open_packets, open_table, wait_for};

const LINKTYPE_ETHERNET: u32 = 1;
/// 2026-03-01T12:00:00Z.
const START_NS: u64 = 1_772_366_400_000_000_000;
const ROUNDS: u64 = 200;
const ROUND_NS: u64 = 20_000_000;

const CLIENT: Ipv4Addr = Ipv4Addr::new(93, 184, 217, 61);
const SERVER: Ipv4Addr = Ipv4Addr::new(185, 61, 148, 23);
const QUOTED: Ipv4Addr = Ipv4Addr::new(151, 101, 67, 219);
const NEIGHBOUR: Ipv4Addr = Ipv4Addr::new(89, 207, 132, 170);
/// Its interface id holds the MAC below, as EUI-64.
const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2a02, 0x2e8, 0x31, 0x77, 0x0221, 0x70ff, 0xfec0, 0x77aa);
const SERVER6: Ipv6Addr = Ipv6Addr::new(0x2a04, 0x4e42, 0x5b, 0x9c3, 0x8d1e, 0x64f2, 0x0b7a, 0x19d5);
const CLIENT_MAC: [u8; 6] = [0x00, 0x21, 0x70, 0xc0, 0x77, 0xaa];
const SERVER_MAC: [u8; 6] = [0x00, 0x1b, 0x21, 0xc3, 0x9d, 0xe5];
const TIMESTAMPS: [u8; 8] = [0x7a, 0xb1, 0xc9, 0xd3, 0x5e, 0x8f, 0x1a, 0x2b];
const TCP_OPTION: &[u8] = b"OPT-7f3a-c6";
const TCP_PAYLOAD: &[u8] = b"SECRET-TCP-PAYLOAD-7c1f93ae";
const DNS_NAME: &[u8] = b"very-private-hostname-9d2e";
const ICMP_REST: &[u8] = b"ICMP-QUOTED-PAYLOAD-51be";
const UNKNOWN: &[u8] = b"UNKNOWN-ETHERTYPE-33d0";

/// Something that must not be seen.
struct Secret {
    what: &'static str,
    bytes: Vec<u8>,
    /// Who may see headers may see it.
    in_headers: bool,
}

fn secret(what: &'static str, bytes: impl AsRef<[u8]>, in_headers: bool) -> Secret {
    Secret {
        what,
        bytes: bytes.as_ref().to_vec(),
        in_headers,
    }
}

fn pair(a: Ipv4Addr, b: Ipv4Addr) -> Vec<u8> {
    [a.octets(), b.octets()].concat()
}

/// As the columns of a view hold it.
fn mapped(address: Ipv4Addr) -> Vec<u8> {
    address.to_ipv6_mapped().octets()[10..].to_vec()
}

fn secrets() -> Vec<Secret> {
    vec![
        secret("IPv4 addresses", pair(CLIENT, SERVER), true),
        secret("an IPv4 address in a column", mapped(CLIENT), true),
        secret("an IPv4 address in a column", mapped(SERVER), true),
        secret("an IPv6 network", &CLIENT6.octets()[..8], true),
        secret("an IPv6 address made of a MAC", CLIENT6.octets(), false),
        secret("an IPv6 address", SERVER6.octets(), true),
        secret("an EUI-64 interface id", &CLIENT6.octets()[8..], false),
        secret("a MAC", CLIENT_MAC, false),
        secret("a MAC", SERVER_MAC, false),
        secret("TCP timestamps", TIMESTAMPS, true),
        secret("a TCP option", TCP_OPTION, true),
        secret(
            "a neighbour's address and the vendor of a MAC",
            [&NEIGHBOUR.octets()[..], &CLIENT_MAC[..3]].concat(),
            true,
        ),
        secret(
            "an ARP answer",
            [&SERVER_MAC[..], &NEIGHBOUR.octets()].concat(),
            false,
        ),
        // The header that an ICMP error quotes is a header (docs of level `headers`); what it quotes of the payload is not.
        secret("quoted addresses", pair(QUOTED, CLIENT), true),
        secret("a quoted payload", ICMP_REST, false),
        secret("a TCP payload", TCP_PAYLOAD, false),
        secret("a DNS name", DNS_NAME, false),
        secret("what is not understood", UNKNOWN, false),
    ]
}

fn ethernet(ethertype: u16, rest: &[u8]) -> Vec<u8> {
    [&SERVER_MAC[..], &CLIENT_MAC, &ethertype.to_be_bytes(), rest].concat()
}

fn ipv4(protocol: u8, source: Ipv4Addr, target: Ipv4Addr, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0x45, 0, 0, 0, 0x3a, 0x5c, 0x40, 0, 57, protocol, 0, 0];
    header[2..4].copy_from_slice(&(20 + rest.len() as u16).to_be_bytes());
    header.extend_from_slice(&pair(source, target));
    header.extend_from_slice(rest);
    header
}

fn ipv6(protocol: u8, rest: &[u8]) -> Vec<u8> {
    let mut header = vec![0x60, 0, 0, 0, 0, 0, protocol, 61];
    header[4..6].copy_from_slice(&(rest.len() as u16).to_be_bytes());
    header.extend_from_slice(&CLIENT6.octets());
    header.extend_from_slice(&SERVER6.octets());
    header.extend_from_slice(rest);
    header
}

fn tcp(sequence: u32) -> Vec<u8> {
    let mut options = vec![8, 10];
    options.extend_from_slice(&TIMESTAMPS);
    options.extend_from_slice(&[253, 2 + TCP_OPTION.len() as u8]);
    options.extend_from_slice(TCP_OPTION);
    options.resize(options.len().next_multiple_of(4), 0);
    let mut segment = vec![0xc3, 0x51, 0x01, 0xbb];
    segment.extend_from_slice(&sequence.to_be_bytes());
    segment.extend_from_slice(&[
        0x5b,
        0x1d,
        0xe2,
        0x90,
        (((20 + options.len()) / 4) << 4) as u8,
        0x18,
    ]);
    segment.extend_from_slice(&[0x20, 0, 0, 0, 0, 0]);
    segment.extend_from_slice(&options);
    segment.extend_from_slice(TCP_PAYLOAD);
    segment
}

fn dns() -> Vec<u8> {
    let mut message = vec![0x51, 0x2c, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, DNS_NAME.len() as u8];
    message.extend_from_slice(DNS_NAME);
    message.extend_from_slice(b"\x07example\x00\x00\x01\x00\x01");
    let mut datagram = vec![0xd2, 0x41, 0, 53];
    datagram.extend_from_slice(&(8 + message.len() as u16).to_be_bytes());
    datagram.extend_from_slice(&[0, 0]);
    datagram.extend_from_slice(&message);
    datagram
}

fn icmp() -> Vec<u8> {
    let quoted = ipv4(17, QUOTED, CLIENT, ICMP_REST);
    [&[3, 1, 0, 0, 0, 0, 0, 0][..], &quoted].concat()
}

fn arp() -> Vec<u8> {
    let mut body = vec![0, 1, 8, 0, 6, 4, 0, 2];
    body.extend_from_slice(&SERVER_MAC);
    body.extend_from_slice(&NEIGHBOUR.octets());
    body.extend_from_slice(&CLIENT_MAC);
    body.extend_from_slice(&CLIENT.octets());
    body
}

/// Packets of one round.
fn round(number: u64) -> Vec<Vec<u8>> {
    let sequence = 0x9182_0000 + number as u32;
    vec![
        ethernet(0x0800, &ipv4(6, CLIENT, SERVER, &tcp(sequence))),
        ethernet(0x0800, &ipv4(17, CLIENT, SERVER, &dns())),
        ethernet(0x86dd, &ipv6(6, &tcp(sequence))),
        ethernet(0x86dd, &ipv6(17, &dns())),
        ethernet(0x0800, &ipv4(1, CLIENT, SERVER, &icmp())),
        ethernet(0x0806, &arp()),
        ethernet(0x88b5, UNKNOWN),
        // Cut in the middle of its addresses: what does not parse is no header.
        ethernet(0x86dd, &ipv6(6, &tcp(sequence))[..30]),
    ]
}

/// A pcap file with nanoseconds.
fn capture(rounds: u64) -> Vec<u8> {
    let mut file = Writer::pcap(Vec::new(), LINKTYPE_ETHERNET, Resolution::Nanoseconds).expect("memory");
    for number in 0..rounds {
        for (at, packet) in round(number).iter().enumerate() {
            let packet = Packet {
                ts_ns: START_NS + number * ROUND_NS + at as u64 * 1_000,
                wire_len: packet.len() as u32,
                link: LINKTYPE_ETHERNET,
                data: packet,
            };
            file.packet(&packet).expect("memory");
        }
    }
    file.finish().expect("memory")
}

fn site(rounds: u64) -> Deployment {
    let site = Deployment::new().retain("payload");
    let file = site.path("secrets.pcap");
    fs::write(&file, capture(rounds)).expect("a capture");
    site.source(&format!("file:{}", file.display()))
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let Some((first, rest)) = needle.split_first() else {
        return true;
    };
    let mut from = 0;
    while let Some(at) = bytes[from..].iter().position(|byte| byte == first) {
        from += at + 1;
        if bytes[from..].starts_with(rest) {
            return true;
        }
    }
    false
}

/// Texts of addresses, as a careless log would have them.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [CLIENT, SERVER, QUOTED, NEIGHBOUR]
        .iter()
        .map(ToString::to_string)
        .collect();
    texts.extend([CLIENT6, SERVER6].iter().map(ToString::to_string));
    for mac in [CLIENT_MAC, SERVER_MAC] {
        texts.push(mac.map(|byte| format!("{byte:02x}")).join(":"));
    }
    texts
}

fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder").flatten() {
        let kind = entry.file_type().expect("a kind");
        if kind.is_dir() {
            files.extend(files_below(&entry.path()));
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    files
}

/// Everybody asks for everything they may see: results, records and logs come into being.
fn life(site: &mut Deployment) -> (Node, Vec<Person>) {
    let dora = site.developer("dora", "anonymized");
    let people = vec![
        site.partner("anna", "anonymized", true),
        site.partner("hank", "headers", false),
        site.partner("paul", "payload", false),
    ];
    let node = site.start();
    for module in ["flowcount", "topports"] {
        dora.submit(module).ok();
        people[0].como(&["--json", "module", "start", module]).ok();
    }
    node.ingested();
    for (person, level) in people.iter().zip(["anonymized", "headers", "payload"]) {
        person.trace(&["--all", "--level", level], "trace.como").ok();
        person
            .query("flowcount", &["--all", "--level", level], "flowcount.como")
            .ok();
    }
    for level in ["coarse", "aggregate"] {
        let out = format!("{level}.como");
        people[0].trace(&["--all", "--level", level], &out).ok();
    }
    // A filter that names a real host, by somebody who may know it.
    let filter = format!("host {CLIENT}");
    people[1]
        .trace(&["--all", "--level", "headers", "--filter", &filter], "host.como")
        .ok();
    people[1]
        .trace(
            &[
                "--all",
                "--level",
                "headers",
                "--filter",
                &format!("{filter} and and"),
            ],
            "none.como",
        )
        .exits(7);
    (node, people)
}

#[test]
fn planted_secrets_are_seen_at_their_level_and_nowhere_else() {
    let mut site = site(ROUNDS).config_extra("[source]\npaced = true");
    let (node, people) = life(&mut site);

    // Datasets: what each may see, and no more.
    let opened = |person: &Person| {
        let packets = open_packets(person, &person.path("trace.como"));
        assert_eq!(packets.frames.len() as u64, ROUNDS * round(0).len() as u64);
        packets.frames
    };
    for (person, sees) in people.iter().zip([
        (|_: &Secret| false) as fn(&Secret) -> bool,
        |secret| secret.in_headers,
        |_| true,
    ]) {
        let bytes = opened(person).join(&0);
        for secret in secrets() {
            let columns = secret.what.ends_with("in a column"); // no frame has these
            if !columns {
                assert_eq!(
                    holds(&bytes, &secret.bytes),
                    sees(&secret),
                    "{}: {}",
                    person.name,
                    secret.what
                );
            }
        }
        let table = format!("{:?}", open_table(person, &person.path("flowcount.como")).rows);
        texts()
            .iter()
            .for_each(|text| assert!(!table.contains(text), "{text} in a table"));
    }
    for level in ["coarse", "aggregate"] {
        let table = open_table(&people[0], &people[0].path(&format!("{level}.como")));
        assert!(!table.rows.is_empty(), "{level} has something to show");
        let cells = table.rows.concat();
        let bytes = cells.iter().map(|cell| match cell {
            Cell::Bytes(bytes) => bytes.clone(),
            other => format!("{other:?}").into_bytes(),
        });
        let bytes = bytes.collect::<Vec<_>>().join(&0);
        for secret in secrets() {
            assert!(!holds(&bytes, &secret.bytes), "{level}: {}", secret.what);
        }
    }
    let of_host = open_packets(&people[1], &people[1].path("host.como"));
    assert!(!of_host.frames.is_empty() && of_host.frames.len() < opened(&people[1]).len());
    for (frame, original) in opened(&people[2]).iter().zip((0..ROUNDS).flat_map(round)) {
        assert!(*frame == original, "R and P give every packet back");
    }

    // The disk and the logs.
    assert!(
        !files_below(&node.folder.join("results")).is_empty(),
        "results are there"
    );
    assert!(
        !files_below(&node.folder.join("trace/records")).is_empty(),
        "records are there"
    );
    no_secret_on_disk(&node.folder);
    let words = [
        node.log().into_bytes(),
        fs::read(node.audit_log()).expect("an audit log"),
    ]
    .concat();
    for text in texts() {
        assert!(!holds(&words, text.as_bytes()), "{text} stands in a log");
    }
    for secret in secrets() {
        assert!(!holds(&words, &secret.bytes), "{} stands in a log", secret.what);
    }
    node.stop();
}

fn no_secret_on_disk(folder: &Path) {
    let files = files_below(folder);
    for file in files {
        // Another process may have taken it away since.
        let Ok(bytes) = fs::read(&file) else { continue };
        for secret in secrets() {
            assert!(
                !holds(&bytes, &secret.bytes),
                "{} stands in {}",
                secret.what,
                file.display()
            );
        }
    }
}

/// The secrets of a node, as its own programs open them.
fn keys(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let config = Config::load(&folder.join("como.toml")).expect("a configuration");
    let root = como_node::admin::root_secret(&config).expect("the root secret");
    let mut ring = Keyring::load(&config.layout().keyring(), &root).expect("the keyring");
    let mut keys = vec![("the node's signing key", ring.node_signing.expose().to_vec())];
    let (sealing, mapping) = (sealing_epoch(START_NS), mapping_epoch(START_NS));
    for section in Section::ALL {
        let identity = ring.trace_identity_if_present(sealing, section).expect("made");
        keys.push(("an identity of the trace", identity.to_bytes().to_vec()));
    }
    for level in 0..5 {
        if let Some(identity) = ring.record_identity_if_present(sealing, level) {
            keys.push(("an identity of the records", identity.to_bytes().to_vec()));
        }
    }
    keys.push((
        "the node's mapping key",
        ring.mapping_key(mapping).expect("made").expose().to_vec(),
    ));
    keys.push((
        "an audience's key",
        ring.audience_key(mapping, "anna")
            .expect("made")
            .expose()
            .to_vec(),
    ));
    keys
}

/// All that a process has in memory; `None` where this machine does not let us look.
fn memory(pid: u32) -> Option<Vec<u8>> {
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).ok()?;
    let mut memory = File::open(format!("/proc/{pid}/mem")).ok()?;
    let mut all = Vec::new();
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let (from, to) = line.split_whitespace().next()?.split_once('-')?;
        let (from, to) = (
            u64::from_str_radix(from, 16).ok()?,
            u64::from_str_radix(to, 16).ok()?,
        );
        memory.seek(SeekFrom::Start(from)).ok()?;
        // Guard pages and the like do not read.
        let _ = Read::by_ref(&mut memory).take(to - from).read_to_end(&mut all);
    }
    (!all.is_empty()).then_some(all)
}

#[test]
fn a_compromised_query_process_reads_no_packet_and_speaks_for_nobody() {
    let mut site = site(ROUNDS);
    let (node, _) = life(&mut site);
    let keys = keys(&node.folder);
    let query = node.role("query").expect("a query process");
    let storage = node.role("storage").expect("a storage process");

    // What it was started with.
    let arguments = fs::read(format!("/proc/{query}/cmdline")).expect("arguments");
    let secrets = secrets();
    for secret in &secrets {
        assert!(!holds(&arguments, &secret.bytes));
    }
    let Ok(environment) = fs::read(format!("/proc/{query}/environ")) else {
        eprintln!("SKIPPED: this user may not look into the processes of a node; run as root");
        return node.stop();
    };
    assert!(environment.is_empty(), "no environment");

    // What it holds open: sockets, sealed results, the log.
    for entry in fs::read_dir(format!("/proc/{query}/fd"))
        .expect("descriptors")
        .flatten()
    {
        let Ok(target) = fs::read_link(entry.path()) else {
            continue;
        };
        let name = target.to_string_lossy().into_owned();
        let sealed = target.starts_with(node.folder.join("results"));
        let harmless = ["socket:", "pipe:", "anon_inode:[event", "/dev/null"];
        let log = name.ends_with("node.log");
        assert!(
            sealed || log || harmless.iter().any(|good| name.starts_with(good)),
            "it holds {name}"
        );
    }

    for (role, pid) in [("query", query), ("storage", storage)] {
        let Some(memory) = memory(pid) else {
            eprintln!("SKIPPED: /proc/{pid}/mem does not open; run as root with CAP_SYS_PTRACE");
            continue;
        };
        // The search would find something if it were there.
        let known: &[u8] = if role == "query" {
            b"spiffe://test.example/observatory/node"
        } else {
            b"segments"
        };
        assert!(holds(&memory, known), "{role}: the search finds what is there");
        for secret in &secrets {
            assert!(
                !holds(&memory, &secret.bytes),
                "{role} has {} in memory",
                secret.what
            );
        }
        for (what, key) in &keys {
            assert!(!holds(&memory, key), "{role} has {what} in memory");
        }
    }
    node.stop();
}

#[test]
fn a_stolen_disk_reads_as_noise() {
    let mut site = site(ROUNDS * 4);
    let (node, _) = life(&mut site);
    no_secret_on_disk(&node.folder);
    let folder = node.folder.clone();
    node.stop();
    no_secret_on_disk(&folder);

    // No key of the keyring stands in plain; the root secret's own file is the operator's to keep elsewhere.
    let keys = keys(&folder);
    for file in files_below(&folder) {
        let bytes = fs::read(&file).expect("a file");
        for (what, key) in &keys {
            assert!(!holds(&bytes, key), "{what} stands in {}", file.display());
        }
    }

    // Sealed sections look like noise: every byte value about as often, nothing twice.
    let mut sections = Vec::new();
    for segment in segments(&folder) {
        let bytes = fs::read(&segment).expect("a segment");
        let reader = SegmentReader::open(File::open(&segment).expect("a segment")).expect("a sound segment");
        for block in reader.blocks() {
            let block = block.expect("a sound block");
            let from = block.position as usize + BLOCK_HEADER_BYTES;
            let to = (block.position + block.header.total_bytes()) as usize;
            sections.extend_from_slice(&bytes[from..to]);
        }
    }
    assert!(
        sections.len() > 20_000,
        "{} bytes are too few to tell",
        sections.len()
    );
    let mut counts = [0_f64; 256];
    sections.iter().for_each(|byte| counts[usize::from(*byte)] += 1.0);
    let expected = sections.len() as f64 / 256.0;
    let chi_square: f64 = counts
        .iter()
        .map(|count| (count - expected).powi(2) / expected)
        .sum();
    // 255 degrees of freedom: mean 255, deviation 22.6; ten deviations are no accident.
    assert!(
        chi_square < 481.0,
        "byte values are not even: chi square {chi_square:.0}"
    );
    let words: BTreeSet<&[u8]> = sections.chunks_exact(8).collect();
    assert_eq!(
        words.len(),
        sections.len() / 8,
        "no word of eight bytes comes twice"
    );
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut files = files_below(&folder.join("trace/segments"));
    files.retain(|file| file.extension().is_some_and(|e| e == "seg"));
    files.sort();
    files
}

/// Bytes of payload that do not compress, for segments of more than a megabyte.
fn bulky() -> Vec<u8> {
    let mut file = capture(1);
    let mut noise = 7_u64;
    for at in 0..3_200_u64 {
        let data: Vec<u8> = (0..1_300)
            .map(|_| {
                noise = noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        let datagram = [&[0xd2, 0x41, 0x13, 0x89, 5, 28, 0, 0][..], &data].concat();
        let packet = ethernet(0x0800, &ipv4(17, CLIENT, SERVER, &datagram));
        let ts_ns = START_NS + 1_000_000_000 + at * 10_000_000;
        let fields = [
            ts_ns / 1_000_000_000,
            ts_ns % 1_000_000_000,
            packet.len() as u64,
            packet.len() as u64,
        ];
        fields
            .iter()
            .for_each(|field| file.extend_from_slice(&(*field as u32).to_le_bytes()));
        file.extend_from_slice(&packet);
    }
    file
}

#[test]
fn the_trace_cannot_be_forged_or_cut_unseen() {
    let mut site = Deployment::new()
        .retain("payload")
        .config_extra("[trace]\nsegment_bytes = \"1 MiB\"");
    let file = site.path("bulky.pcap");
    fs::write(&file, bulky()).expect("a capture");
    site = site.source(&format!("file:{}", file.display()));
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    let all = node.catalog()["packets"].as_u64().expect("a count");
    let folder = node.folder.clone();
    node.stop();

    let mut list = segments(&folder);
    list.sort_by_key(|path| {
        let reader = SegmentReader::open(File::open(path).expect("a segment")).expect("sound");
        reader.header().first_ns
    });
    assert!(list.len() >= 4, "{} segments", list.len());
    let config = Config::load(&folder.join("como.toml")).expect("a configuration");
    let root = como_node::admin::root_secret(&config).expect("the root secret");
    let node_key = Keyring::load(&config.layout().keyring(), &root)
        .expect("the keyring")
        .node_signing
        .verifying_key();
    let open = |path: &Path| SegmentReader::open(File::open(path).expect("a segment"));
    for path in &list {
        let reader = open(path).expect("a sound segment");
        reader.verify(&node_key).expect("the node's own");
        let report = reader.verify_blocks().expect("whole");
        assert!(matches!(report.tail, ScanEnd::Sealed(_)), "{}", path.display());
        let stranger = como_keys::signing::SigningKey::generate().verifying_key();
        assert!(
            reader.verify(&stranger).is_err(),
            "another node's key does not vouch for it"
        );
    }

    // Copies of one segment, each touched in another way.
    let victim = fs::read(&list[1]).expect("a segment");
    let reader = open(&list[1]).expect("sound");
    let blocks: Vec<_> = reader
        .blocks()
        .map(|block| block.expect("sound"))
        .filter(|block| block.header.kind == BlockKind::Packets)
        .collect();
    assert!(blocks.len() >= 2, "{} blocks", blocks.len());
    let copy = site.path("copy.seg");
    let touched = |bytes: &[u8]| {
        fs::write(&copy, bytes).expect("a copy");
        match open(&copy) {
            Err(_) => "refused",
            Ok(reader) if reader.footer().is_none() => "unsealed end",
            Ok(reader) => match reader.verify_blocks() {
                Ok(report) if matches!(report.tail, ScanEnd::Sealed(_)) => "whole",
                _ => "torn",
            },
        }
    };
    assert_eq!(touched(&victim), "whole");
    let end = |block: &como_node::trace::BlockRef| (block.position + block.header.total_bytes()) as usize;
    let last = end(blocks.last().expect("blocks"));
    assert_eq!(touched(&victim[..last]), "unsealed end", "its footer is cut");
    let mut flipped = victim.clone();
    flipped[blocks[0].position as usize + BLOCK_HEADER_BYTES + 100] ^= 1;
    assert_eq!(touched(&flipped), "torn", "a section is touched");
    let mut header = victim.clone();
    header[40] ^= 1;
    assert_eq!(touched(&header), "refused", "the header is touched");
    let (a, b) = (
        blocks[0].position as usize..end(&blocks[0]),
        blocks[1].position as usize..end(&blocks[1]),
    );
    assert_eq!(a.end, b.start);
    let swapped = [
        &victim[..a.start],
        &victim[b.clone()],
        &victim[a.clone()],
        &victim[b.end..],
    ]
    .concat();
    assert_ne!(touched(&swapped), "whole", "blocks are swapped");
    let dropped = [&victim[..a.start], &victim[a.end..]].concat();
    assert_ne!(touched(&dropped), "whole", "a block is dropped");

    // And the running node tells partners: a segment taken away, a section touched.
    fs::write(&list[1], &flipped).expect("written");
    fs::remove_file(&list[2]).expect("removed");
    let node = site.start();
    wait_for("the trace is back", || {
        (node.catalog()["segments"].as_u64() >= Some(list.len() as u64 - 1)).then_some(())
    });
    ann.trace(&["--all"], "cut.como").ok();
    let packets = open_packets(&ann, &ann.path("cut.como"));
    assert!((packets.frames.len() as u64) < all);
    let causes: Vec<&str> = packets
        .end
        .gaps
        .iter()
        .chain(&packets.header.gaps)
        .map(|gap| gap.cause.as_str())
        .collect();
    assert!(causes.contains(&"missing segment"), "{causes:?}");
    assert!(causes.contains(&"damaged block"), "{causes:?}");
    node.stop();
}
