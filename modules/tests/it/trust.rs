//! Whom a node believes: every way in which a module file can be wrong before its code is looked at.

use como_keys::signing::SigningKey;
use como_modules::{
    KnownRelease, Manifest, ModuleError, RevocationList, SignedModule, Trust, TrustedDeveloper,
};

use como_policies::AccessLevel;

use crate::support::{DEVELOPER, Guest, developer, key, manifest, verify};

fn cmod() -> Vec<u8> {
    SignedModule::sign(&manifest(), &Guest::default().wasm(), &key()).unwrap()
}

fn refusal<'a>(bytes: &[u8], change: impl FnOnce(&mut Trust<'a>)) -> ModuleError {
    // Leaked, so that a case may put its own beside them for as long as it likes.
    let mut trust = Trust {
        developers: Box::leak(Box::new([developer()])),
        revocations: Box::leak(Box::new(RevocationList::initial())),
        now_ns: 500,
        last_release: &|_, _| None,
    };
    change(&mut trust);
    SignedModule::parse(bytes)
        .and_then(|m| m.verify(&trust))
        .err()
        .expect("a refusal")
}

#[test]
fn a_signed_module_is_accepted_and_its_manifest_comes_back() {
    let verified = verify(&cmod()).unwrap();
    let mut expected = manifest();
    expected.key_id = key().verifying_key().key_id();
    expected.wasm_len = verified.wasm().len() as u32;
    expected.wasm_sha256 = como_keys::digest::sha256(verified.wasm());
    assert_eq!(**verified.manifest(), expected);
}

#[test]
fn every_refusal_says_in_two_lines_what_is_wrong_and_what_to_do() {
    let stranger = SigningKey::from_bytes(&[9; 32]);
    let by_stranger = SignedModule::sign(&manifest(), &Guest::default().wasm(), &stranger).unwrap();
    let mut revoked_key = RevocationList::initial();
    revoked_key.number = 4;
    revoked_key.keys.insert(key().verifying_key().key_id());
    let mut revoked_code = RevocationList::initial();
    revoked_code
        .modules
        .insert(como_keys::digest::sha256(&Guest::default().wasm()));
    let stale = RevocationList {
        expires_ns: 400,
        ..RevocationList::initial()
    };
    let renamed = [TrustedDeveloper {
        id: "spiffe://example.org/lab/eve".into(),
        ..developer()
    }];
    let newer = |_: &str, _: &str| {
        Some(KnownRelease {
            release: 4,
            wasm_sha256: [0; 32],
        })
    };
    let other_code = |_: &str, _: &str| {
        Some(KnownRelease {
            release: 3,
            wasm_sha256: [0; 32],
        })
    };
    let cases: Vec<(&str, ModuleError)> = vec![
        ("bare WebAssembly", refusal(&Guest::default().wasm(), |_| {})),
        ("does not start with COMOMOD1", refusal(b"hello", |_| {})),
        (
            "4194305 bytes, the limit is 4194304",
            refusal(&vec![0; (4 << 20) + 1], |_| {}),
        ),
        ("not a module file", refusal(&cmod()[..200], |_| {})),
        ("no registered developer's key", refusal(&by_stranger, |_| {})),
        (
            "belongs to spiffe://example.org/lab/eve",
            refusal(&cmod(), |t| t.developers = &renamed),
        ),
        ("expired at 1000", refusal(&cmod(), |t| t.now_ns = 1000)),
        (
            "release 3 of probe is not newer than release 4",
            refusal(&cmod(), |t| t.last_release = &newer),
        ),
        (
            "release 3 of probe is not newer than release 3",
            refusal(&cmod(), |t| t.last_release = &other_code),
        ),
        (
            "revoked (list number 4)",
            refusal(&cmod(), |t| t.revocations = &revoked_key),
        ),
        ("module ", refusal(&cmod(), |t| t.revocations = &revoked_code)),
        ("expired at 400", refusal(&cmod(), |t| t.revocations = &stale)),
    ];
    for (expected, error) in cases {
        let text = error.to_string();
        assert!(text.contains(expected), "`{text}` does not say `{expected}`");
        assert_eq!(text.lines().count(), 2, "`{text}`");
    }
}

#[test]
fn the_same_release_may_come_again_with_the_same_code() {
    let hash = como_keys::digest::sha256(&Guest::default().wasm());
    let known = move |developer: &str, name: &str| {
        assert_eq!((developer, name), (DEVELOPER, "probe"));
        Some(KnownRelease {
            release: 3,
            wasm_sha256: hash,
        })
    };
    let trust = Trust {
        developers: &[developer()],
        revocations: &RevocationList::initial(),
        now_ns: 0,
        last_release: &known,
    };
    SignedModule::parse(&cmod()).unwrap().verify(&trust).unwrap();
}

#[test]
fn a_file_without_signatures_is_unsigned() {
    use como_capnp::module_capnp::signed_module;
    let mut message = capnp::message::Builder::new_default();
    message
        .init_root::<signed_module::Builder>()
        .set_manifest(&manifest().to_bytes());
    let mut bytes = como_modules::MAGIC.to_vec();
    bytes.extend(como_capnp::write_message(&message));
    assert_eq!(refusal(&bytes, |_| {}), ModuleError::Unsigned);
}

/// Whatever byte is changed: the file is refused, or what it says has not changed.
#[test]
fn no_flipped_bit_changes_what_is_believed() {
    let good = cmod();
    let believed = verify(&good).unwrap();
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 1 << (at % 8);
        if let Ok(module) = verify(&bad) {
            assert_eq!(module.manifest(), believed.manifest(), "byte {at}");
            assert_eq!(module.wasm(), believed.wasm(), "byte {at}");
        }
    }
}

#[test]
fn no_cut_file_is_believed() {
    let good = cmod();
    for len in 0..good.len() {
        assert!(verify(&good[..len]).is_err(), "{len} bytes");
    }
}

#[test]
fn a_changed_manifest_or_code_is_named_as_such() {
    let good = cmod();
    let find = |needle: &[u8]| good.windows(needle.len()).position(|w| w == needle).unwrap();
    let mut manifest_changed = good.clone();
    manifest_changed[find(b"probes the node")] = b'P';
    assert!(matches!(
        refusal(&manifest_changed, |_| {}),
        ModuleError::BadSignature { .. }
    ));
    let mut code_changed = good.clone();
    code_changed[find(b"como_arena")] = b'C';
    assert!(matches!(
        refusal(&code_changed, |_| {}),
        ModuleError::WrongHash { .. }
    ));
}

#[test]
fn the_supervisors_word_replaces_the_signature_but_not_the_hash() {
    use como_modules::VerifiedModule;
    let good = cmod();
    assert_eq!(
        VerifiedModule::from_supervisor(&good).unwrap().manifest().name,
        "probe"
    );
    let mut changed = good.clone();
    let at = changed.windows(10).position(|w| w == b"como_arena").unwrap();
    changed[at] = b'C';
    assert!(matches!(
        VerifiedModule::from_supervisor(&changed),
        Err(ModuleError::WrongHash { .. })
    ));
}

#[test]
fn revocation_lists_are_signed_numbered_and_expire() {
    let operator = SigningKey::from_bytes(&[1; 32]);
    let mut list = RevocationList {
        number: 5,
        issued_ns: 10,
        expires_ns: 100,
        ..RevocationList::initial()
    };
    list.keys.insert(key().verifying_key().key_id());
    list.modules.insert([3; 32]);
    let bytes = list.sign(&operator);
    let public = operator.verifying_key();
    assert_eq!(RevocationList::verify(&bytes, &public, 5, 50).unwrap(), list);
    let verify = |key, in_force, now| RevocationList::verify(&bytes, &key, in_force, now).unwrap_err();
    assert!(matches!(
        verify(key().verifying_key(), 0, 50),
        ModuleError::BadSignature { .. }
    ));
    assert!(matches!(
        verify(public, 6, 50),
        ModuleError::OldRevocations { offered: 5, known: 6 }
    ));
    assert!(matches!(
        verify(public, 5, 100),
        ModuleError::StaleRevocations { number: 5, .. }
    ));
}

#[test]
fn manifests_that_break_a_rule_are_not_signed() {
    type Change = fn(&mut Manifest);
    let at_coarse = |m: &mut Manifest| {
        m.level = AccessLevel::Coarse;
        m.interval_ns = como_anonymize::coarse::BIN_NS;
        m.wants_frames = false;
    };
    let mut sound = manifest();
    at_coarse(&mut sound);
    sound
        .check()
        .expect("the same is sound at coarse, for whole hours and what flow rows show");
    let cases: [(&str, Change); 16] = [
        ("name", |m| m.name = "No Such\u{1b}[2J".into()),
        ("name", |m| m.name = "x".repeat(33)),
        ("description", |m| m.description = "two\nlines".into()),
        ("abi", |m| m.abi = 2),
        ("level", |m| m.level = AccessLevel::Aggregate),
        ("interval", |m| m.interval_ns = 0),
        ("interval", |m| m.level = AccessLevel::Coarse),
        ("frames", |m| {
            (m.level, m.interval_ns, m.wants_frames) = (AccessLevel::Coarse, 3_600_000_000_000, true);
        }),
        ("columns", |m| {
            (m.level, m.interval_ns) = (AccessLevel::Coarse, 3_600_000_000_000);
            (m.wants_frames, m.columns) = (false, vec![como_anonymize::Column::Ttl]);
        }),
        ("memory", |m| m.memory_bytes = 1000),
        ("memory", |m| m.memory_bytes = 128 << 20),
        ("columns", |m| m.columns = vec![]),
        ("columns", |m| m.columns = vec![m.columns[0], m.columns[0]]),
        ("schema", |m| m.schema = vec![]),
        ("schema", |m| m.schema[0].name = "time".into()),
        ("args", |m| {
            m.args = vec![como_modules::ArgSpec {
                name: "k".into(),
                default: 0,
                min: 1,
                max: 2,
                description: String::new(),
                load_only: false,
            }];
        }),
    ];
    for (expected, change) in cases {
        let mut bad = manifest();
        change(&mut bad);
        match SignedModule::sign(&bad, b"", &key()) {
            Err(ModuleError::Manifest { field, .. }) => assert_eq!(field, expected),
            other => panic!("{expected}: {:?}", other.map(|_| ())),
        }
    }
}
