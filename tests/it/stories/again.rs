//! What was decided is decided again: a run ends as soon as what allowed it does not any more, with the reason where people
//! look, and begins again where it may.

use std::time::{SystemTime, UNIX_EPOCH};

use como_client::keys::Bundle;
use como_keys::signing::SigningKey;
use como_modules::RevocationList;
use como_node::config::Layout;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, Issuer, KeyPair, SanType};
use serde_json::Value;

use super::SECOND;
use crate::harness::{CONSORTIUM, Deployment, Guest, Node, Person, wait_for};

fn now_ns() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    now.as_nanos() as u64
}

/// How often a module runs.
fn runs(status: &Value, module: &str) -> usize {
    let list = status["live_modules"].as_array().expect("a list");
    list.iter().filter(|run| run["name"] == module).count()
}

/// Waits until no run of a module is left; the last stop says why in the status, in the list and in the audit log.
#[track_caller]
fn stopped(node: &Node, module: &str, why: &str) {
    let status = node.until(&format!("{module} stops: {why}"), |status| {
        runs(status, module) == 0
    });
    let list = status["stopped_modules"].as_array().expect("a list");
    let last = list
        .iter()
        .rfind(|run| run["name"] == module)
        .expect("it was stopped");
    let told = last["why"].as_str().expect("a reason");
    assert!(told.contains(why), "`{why}` is not in `{told}`");
    let audited = node.audited("module_stopped");
    let audited = audited.iter().rfind(|event| event["hash"] == last["hash"]);
    assert_eq!(audited.expect("it is logged")["why"], last["why"]);
}

#[track_caller]
fn started(node: &Node, module: &str) {
    node.until(&format!("{module} runs"), |status| runs(status, module) == 1);
}

fn hash_of(submitted: &Value) -> String {
    submitted["hash"].as_str().expect("a hash").to_owned()
}

#[test]
fn what_is_no_longer_allowed_stops_with_its_reason_and_begins_again_where_it_may() {
    let mut site = Deployment::new().capture(500, 36).retain("payload");
    let dev = site.developer("dev", "payload");
    let ops = site.partner("ops", "anonymized", true);
    let eve = site.partner("eve", "anonymized", true);
    let rules = site.path("rules.cedar");
    let shipped = include_str!(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../policies/sets/restricted.cedar"
    ));
    std::fs::write(&rules, shipped).expect("written");
    site.reconfigure(&format!("[policy]\nfile = {rules:?}"));
    let node = site.start();
    node.ingested();
    dev.submit("traffic").ok();
    ops.como(&["module", "start", "traffic"]).ok();
    started(&node, "traffic");

    // A rule of the operator's.
    let forbid = "@id(\"quiet\")\n@rule(\"Nothing new runs this week.\")\n\
                  forbid (principal, action == Como::Action::\"startModule\", resource is Como::Module);\n";
    std::fs::write(&rules, [shipped, forbid].join("\n")).expect("written");
    node.reload();
    stopped(&node, "traffic", "Nothing new runs this week.");
    std::fs::write(&rules, shipped).expect("written");
    node.reload();
    started(&node, "traffic");

    // A rule that depends on time ends what runs without anybody doing anything.
    let until = now_ns() + 6 * SECOND;
    let forbid = format!(
        "@id(\"evening\")\n@rule(\"Not at this time of day.\")\n\
         forbid (principal, action == Como::Action::\"startModule\", resource is Como::Module)\n\
         when {{ context.nowNs > {until} }};\n"
    );
    std::fs::write(&rules, [shipped, &forbid].join("\n")).expect("written");
    site.operator(&["reload"]);
    assert_eq!(runs(&node.status(), "traffic"), 1);
    stopped(&node, "traffic", "Not at this time of day.");
    std::fs::write(&rules, "permit (").expect("written");
    let folder = node.folder.display().to_string();
    let refused = site.admin(&["reload", "--node", &folder]);
    assert!(!refused.status.success(), "a set that does not parse is not sent");
    std::fs::write(&rules, shipped).expect("written");
    site.operator(&["reload"]);
    started(&node, "traffic");

    // A rule on stopping.
    let forbid = "@id(\"hold\")\n@rule(\"Runs stay.\")\n\
                  forbid (principal, action in Como::Action::\"steer\", resource is Como::Module);\n";
    std::fs::write(&rules, [shipped, forbid].join("\n")).expect("written");
    node.reload();
    wait_for("the rule holds", || {
        (ops.como(&["module", "pause", "traffic"]).code == 3).then_some(())
    });
    ops.como(&["--json", "module", "stop", "traffic"])
        .refused(3, "Runs stay.");
    std::fs::write(&rules, shipped).expect("written");
    node.reload();

    // Its partner: for the time being, then for good, while another one wants it as well.
    site.operator(&["partner", "suspend", "ops"]);
    stopped(&node, "traffic", "You are suspended");
    site.operator(&["partner", "resume", "ops"]);
    started(&node, "traffic");
    eve.como(&["module", "start", "traffic"]).ok();
    site.operator(&["partner", "revoke", "ops"]);
    node.until("the other one has it", |status| runs(status, "traffic") == 1);
    site.operator(&["partner", "suspend", "eve"]);
    stopped(&node, "traffic", "You are suspended");
    site.operator(&["partner", "resume", "eve"]);
    started(&node, "traffic");

    // Its faults, of which the third black-lists the code: also where it ran without one.
    let trapper = Guest {
        name: "trapper",
        update: "unreachable",
        ..Guest::default()
    };
    dev.submit_file(&trapper.signed_by(&dev)).ok();
    // The source is at its end: this one never sees a packet.
    eve.como(&["module", "start", "trapper"]).ok();
    started(&node, "trapper");
    for _ in 0..3 {
        eve.query("trapper", &["--all", "--fresh"], "never.como").exits(8);
    }
    stopped(&node, "trapper", "on the black list");

    // An endorsement.
    let dns = hash_of(&dev.submit("dns").ok().json());
    eve.como(&["module", "start", "dns"]).exits(3);
    site.operator(&["endorse", &dns, "--output-level", "anonymized", "--name", "dns"]);
    wait_for("the endorsement is known", || {
        (eve.como(&["module", "start", "dns"]).code == 0).then_some(())
    });
    started(&node, "dns");
    site.operator(&["withdraw", "dns"]);
    stopped(&node, "dns", "the operator has not endorsed it");

    // Its code, by a revocation list; a lower number does not come back, also not at a start.
    let list = site.node_folder().join("registry/revocations");
    let list_file = || {
        let mut files = std::fs::read_dir(&list).expect("a folder").flatten();
        files.next().expect("a list").path()
    };
    site.operator(&["revocations", "add", "--module", &"00".repeat(32)]);
    let old = std::fs::read(list_file()).expect("a list");
    let traffic = dev.como(&["--json", "module", "show", "traffic"]).ok().json();
    let traffic = hash_of(&traffic);
    site.operator(&["revocations", "add", "--module", &traffic]);
    stopped(&node, "traffic", "revoked (list number 2)");
    eve.como(&["--json", "module", "start", "traffic"])
        .refused(7, "list number 2");
    eve.query("traffic", &["--all"], "never.como")
        .refused(7, "list number 2");
    std::fs::write(list_file(), &old).expect("written");
    node.reload();
    wait_for("the old list is refused", || {
        node.log()
            .contains("reload refused, nothing changed")
            .then_some(())
    });
    eve.como(&["module", "start", "traffic"]).exits(7);
    node.stop();
    let mut node = site.launch();
    assert!(!node.ended().success(), "nor does a start take it");
    assert!(
        node.log().contains("number 1 is older than number 2"),
        "{}",
        node.log()
    );
    drop(node);
    assert!(site.operator(&["revocations", "show"]).contains("ISSUER"));
}

#[test]
fn keys_certificates_and_time_end_what_they_allowed() {
    let mut site = Deployment::new().capture(500, 37);
    let dora = site.developer("dora", "anonymized");
    let ann = site.partner("ann", "anonymized", true);
    let node = site.start();
    node.ingested();

    // A module's own expiry.
    let brief = Guest {
        name: "brief",
        not_after_ns: now_ns() + 20 * SECOND,
        ..Guest::default()
    };
    dora.submit_file(&brief.signed_by(&dora)).ok();
    ann.como(&["module", "start", "brief"]).ok();
    started(&node, "brief");
    stopped(&node, "brief", "expired");

    // The certificate that it was asked for with; a newer one lets it go on.
    dora.submit("traffic").ok();
    let long = certificate(&ann);
    wear(&ann, &short_lived(&mut site, &ann, 15));
    ann.como(&["module", "start", "traffic"]).ok();
    started(&node, "traffic");
    stopped(&node, "traffic", "has expired");
    wait_for("the certificate is over", || {
        (ann.como(&["status"]).code == 5).then_some(())
    });
    wear(&ann, &long);
    assert_eq!(runs(&node.status(), "traffic"), 0);
    ann.como(&["module", "list"]).ok();
    started(&node, "traffic");

    // The developer's keys are replaced: what the old one signed goes on, and signs nothing more.
    let new_keys = |site: &mut Deployment, kind: &str, person: &Person, extra: &[&str], round: u32| {
        let renewed = site.renewed(person, round);
        let card = site.path(&format!("{}-{round}.card.toml", person.name));
        std::fs::copy(renewed.keys_dir.join("card.toml"), &card).expect("a card");
        let welcome = site.path(&format!("{}-{round}.welcome.toml", person.name));
        let [card, welcome] = [&card, &welcome].map(|path| path.display().to_string());
        let words = [
            kind,
            "rotate",
            &person.name,
            "--card",
            &card,
            "--output",
            &welcome,
        ];
        site.operator(&[&words, extra].concat());
        renewed.como(&["join", &welcome]).ok();
        renewed
    };
    let first = dora;
    let dora = new_keys(&mut site, "developer", &first, &[], 1);
    wait_for("the old certificate is revoked", || {
        (first.como(&["module", "list"]).code == 5).then_some(())
    });
    wait_for("the new keys are known", || {
        (dora.como(&["module", "list"]).code == 0).then_some(())
    });
    assert_eq!(runs(&node.status(), "traffic"), 1, "it was signed by a good key");
    let guest = |name| Guest {
        name,
        extra: "(func)",
        ..Guest::default()
    };
    dora.submit_file(&guest("late").signed_by(&first))
        .refused(7, "no registered developer's key");
    dora.submit_file(&guest("later").signed_by(&dora)).ok();
    ann.como(&["module", "start", "later"]).ok();
    started(&node, "later");

    // Somebody has the key: what it signed stops. Signed again by the new one, it is the same module.
    let second = dora;
    let dora = new_keys(&mut site, "developer", &second, &["--compromised"], 2);
    stopped(&node, "later", "The key that signed this module was revoked.");
    assert_eq!(runs(&node.status(), "traffic"), 1, "an older key signed that");
    wait_for("the new keys are known", || {
        (dora.como(&["module", "list"]).code == 0).then_some(())
    });
    let again = Guest {
        release: 2,
        ..guest("later")
    };
    dora.submit_file(&again.signed_by(&dora)).ok();
    ann.como(&["module", "start", "later"]).ok();
    started(&node, "later");

    // A key by a list.
    let card = Bundle::open(&first.keys_dir)
        .and_then(|keys| keys.card())
        .expect("a card");
    site.operator(&["revocations", "add", "--key", &card.developer_key]);
    stopped(&node, "traffic", "list number 1");
    assert_eq!(runs(&node.status(), "later"), 1);

    // A partner's keys: who has the old ones is nobody.
    let renewed = new_keys(&mut site, "partner", &ann, &[], 1);
    wait_for("the old certificate is revoked", || {
        (ann.como(&["status"]).code == 5).then_some(())
    });
    wait_for("the new keys are known", || {
        (renewed.como(&["status"]).code == 0).then_some(())
    });
    assert_eq!(runs(&node.status(), "later"), 1, "the partner is the same");
    renewed.query("later", &["--all"], "later.como").ok();

    // And the developer for good.
    site.operator(&["developer", "revoke", "dora"]);
    stopped(&node, "later", "The key that signed this module was revoked.");
    node.stop();
}

fn profile(person: &Person) -> std::path::PathBuf {
    let name = como_client::profile::find(&person.keys_dir, None)
        .expect("a joined node")
        .name;
    person.keys_dir.join("nodes").join(name).join("certificate.pem")
}

fn certificate(person: &Person) -> String {
    std::fs::read_to_string(profile(person)).expect("a certificate")
}

fn wear(person: &Person, certificate: &str) {
    std::fs::write(profile(person), certificate).expect("written");
}

/// A certificate of the node's own authority that is valid for so many seconds from now.
fn short_lived(site: &mut Deployment, person: &Person, seconds: u64) -> String {
    let layout = Layout::new(&site.node_folder());
    let read = |path: std::path::PathBuf| std::fs::read_to_string(path).expect("a file of the authority");
    let key = KeyPair::from_pem(&read(layout.ca_key())).expect("a key");
    let issuer = Issuer::from_ca_cert_pem(&read(layout.ca_certificate()), key).expect("an authority");
    let csr = Bundle::open(&person.keys_dir)
        .and_then(|keys| keys.card())
        .expect("a card")
        .csr;
    let request = CertificateSigningRequestParams::from_pem(&csr).expect("a request");
    let id = format!("spiffe://{CONSORTIUM}/{0}-org/{0}", person.name);
    let mut params = rcgen::CertificateParams::default();
    params.subject_alt_names = vec![SanType::URI(id.as_str().try_into().expect("ASCII"))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let now = SystemTime::now();
    params.not_before = (now - std::time::Duration::from_secs(3600)).into();
    params.not_after = (now + std::time::Duration::from_secs(seconds)).into();
    params
        .signed_by(&request.public_key, &issuer)
        .expect("signed")
        .pem()
}

/// A list of a consortium's: everything that its issuer names must stop, at every node that names the issuer.
fn list_of(issuer: &SigningKey, number: u64, modules: &[&str]) -> Vec<u8> {
    let hash = |text: &&str| -> [u8; 32] {
        std::array::from_fn(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).expect("a hash"))
    };
    RevocationList {
        number,
        issued_ns: now_ns(),
        expires_ns: u64::MAX,
        keys: Default::default(),
        modules: modules.iter().map(hash).collect(),
    }
    .sign(issuer)
}

#[test]
fn a_list_of_an_issuer_whom_the_operator_names_stops_what_runs_and_keeps_it_out() {
    let issuer = SigningKey::from_bytes(&[5; 32]);
    let mut site = Deployment::new().capture(500, 29).config_extra(&format!(
        "[modules]\nrevocation_keys = [{:?}]",
        issuer.verifying_key().hex()
    ));
    let dev = site.developer("dev", "anonymized");
    let ops = site.partner("ops", "anonymized", true);
    let folder = site.node_folder().display().to_string();
    let node = site.start();
    node.ingested();
    let [traffic, protocol] = ["traffic", "protocol"].map(|module| {
        let submitted = dev.submit(module).ok().json();
        ops.como(&["module", "start", module]).ok();
        started(&node, module);
        hash_of(&submitted)
    });
    let install = |site: &Deployment, name: &str, list: &[u8]| {
        let file = site.path(name);
        std::fs::write(&file, list).expect("written");
        let file = file.display().to_string();
        let ended = site.admin(&["revocations", "install", &file, "--node", &folder]);
        (
            ended.status.success(),
            String::from_utf8_lossy(&[ended.stdout, ended.stderr].concat()).into_owned(),
        )
    };
    let refused = |(taken, said): (bool, String), words: &str| {
        assert!(!taken && said.contains(words), "`{words}` is not in {said}");
    };

    // Of somebody whom the configuration does not name, and changed on the way.
    let stranger = SigningKey::from_bytes(&[6; 32]);
    refused(
        install(&site, "1.list", &list_of(&stranger, 9, &[&traffic])),
        "signed by nobody",
    );
    let list = list_of(&issuer, 3, &[&traffic]);
    let mut flipped = list.clone();
    let last = flipped.len() - 1;
    flipped[last] ^= 1;
    assert!(!install(&site, "2.list", &flipped).0);
    assert_eq!(runs(&node.status(), "traffic"), 1);

    let (taken, said) = install(&site, "3.list", &list);
    assert!(taken, "{said}");
    stopped(&node, "traffic", "list number 3");
    assert_eq!(runs(&node.status(), "protocol"), 1, "it is not on the list");
    ops.como(&["--json", "module", "start", "traffic"])
        .refused(7, "list number 3");
    ops.query("traffic", &["--all"], "never.como")
        .refused(7, "list number 3");
    assert!(!node.audited("revocations_taken").is_empty());
    let shown = site.operator(&["revocations", "show"]);
    let line = shown
        .lines()
        .find(|line| line.contains(&issuer.verifying_key().key_id().to_string()));
    assert!(line.is_some_and(|line| line.contains(" 3 ")), "{shown}");

    // None goes back, and a number stands for one list.
    refused(install(&site, "4.list", &list_of(&issuer, 2, &[])), "2");
    refused(
        install(&site, "5.list", &list_of(&issuer, 3, &[&protocol])),
        "another list of number 3",
    );
    assert!(
        install(&site, "6.list", &list).0,
        "the same again changes nothing"
    );
    let (taken, said) = install(&site, "7.list", &list_of(&issuer, 4, &[&traffic, &protocol]));
    assert!(taken, "{said}");
    stopped(&node, "protocol", "list number 4");
    node.stop();

    // It stays in force, and whoever takes the issuer out of the configuration has to say that it is gone.
    let node = site.start();
    ops.query("protocol", &["--all"], "never.como")
        .refused(7, "list number 4");
    node.stop();
    site.reconfigure("[modules]\nrevocation_keys = []");
    let mut node = site.launch();
    assert!(!node.ended().success());
    assert!(node.log().contains("revocation_keys"), "{}", node.log());
}
