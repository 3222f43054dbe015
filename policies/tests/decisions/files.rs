//! Policy files: what is refused, and how people see where.

use super::*;

#[test]
fn a_file_keeps_the_guards() {
    let everything = r#"@id("all") @rule("all") permit (principal, action, resource);"#;
    let engine = engine_from(SystemMode::Private, everything).unwrap();
    let low = partner(AccessLevel::Coarse, true, true);
    assert!(!decide(&engine, &low, Action::DownloadTrace, &trace(AccessLevel::Payload)).is_allow());
    assert!(decide(&engine, &low, Action::DownloadTrace, &trace(AccessLevel::Coarse)).is_allow());
}

#[test]
fn a_broken_file_is_refused_with_line_and_caret() {
    let cases = [
        // No parse.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal, action resource);",
            ":2:",
            "^",
        ),
        // An attribute that does not exist.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal is Como::Partner, action, resource)\nwhen { principal.celing > 1 };",
            ":3:8: ",
            "celing",
        ),
        // A type mistake.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal, action, resource)\nwhen { context.costBytes };",
            ":3:8: ",
            "^",
        ),
        // A mode that does not exist.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal, action, resource)\nwhen { context.mode == Como::Mode::\"pubic\" };",
            ":",
            "pubic",
        ),
        // An action that does not exist.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal, action == Como::Action::\"fly\", resource);",
            ":",
            "fly",
        ),
        ("\n\npermit (principal, action, resource);", ":3:1: ", "no @id"),
        (
            "@id(\"a\")\npermit (principal, action, resource);",
            ":1:1: ",
            "no @rule",
        ),
        (
            "@id(\"guard-suspended\") @rule(\"a\")\npermit (principal, action, resource);",
            ":1:1: ",
            "second policy",
        ),
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal == ?principal, action, resource);",
            ":1:1: ",
            "templates",
        ),
        // A condition that can never hold.
        (
            "@id(\"a\") @rule(\"a\")\npermit (principal is Como::Operator, action, resource)\nwhen { principal is Como::Partner };",
            ":",
            "impossible",
        ),
    ];
    for (text, place, word) in cases {
        let Err(error) = engine_from(SystemMode::Public, text) else {
            panic!("accepted:\n{text}")
        };
        assert!(
            error.contains(&format!(".cedar{place}")),
            "{place} not in:\n{error}\nfor\n{text}"
        );
        assert!(error.contains(word), "{word} not in:\n{error}");
        assert!(error.contains('^'), "{error}");
    }
    let missing = PolicyEngine::from_file(SystemMode::Public, std::path::Path::new("/nonexistent/x.cedar"));
    assert!(missing.is_err_and(|error| error.to_string().contains("/nonexistent/x.cedar")));
}

#[test]
fn the_hash_names_the_set() {
    let hashes: std::collections::BTreeSet<_> = SystemMode::ALL
        .map(|mode| engine(mode).set_hash().to_owned())
        .into();
    assert_eq!(hashes.len(), 3);
    assert!(hashes.iter().all(|hash| hash.len() == 64));
    assert_eq!(
        engine(SystemMode::Public).set_hash(),
        engine(SystemMode::Public).set_hash()
    );
}
