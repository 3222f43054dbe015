//! The three policy sets as tables, the guards, and what must deny whatever a set says.

use como_policies::{
    AccessLevel, Action, Ask, Decision, DeveloperFacts, ModuleFacts, PolicyEngine, Principal, Resource,
    SystemMode, TraceFacts, Window,
};
use std::io::Write;

const DAY_NS: u64 = 86_400_000_000_000;

fn operator() -> Principal {
    Principal::Operator {
        id: "spiffe://example.org/site/operator".into(),
    }
}

fn developer(ceiling: AccessLevel) -> DeveloperFacts {
    DeveloperFacts {
        id: "spiffe://example.org/university/dora".into(),
        ceiling,
        output_ceiling: ceiling,
        key_revoked: false,
    }
}

fn developer_principal(facts: &DeveloperFacts) -> Principal {
    Principal::Developer {
        id: facts.id.clone(),
        organisation: "university".into(),
        ceiling: facts.ceiling,
        output_ceiling: facts.output_ceiling,
        key_revoked: facts.key_revoked,
    }
}

/// A partner: whether it is listed and may plug in.
fn partner(ceiling: AccessLevel, listed: bool, may_plug_in: bool) -> Principal {
    Principal::Partner {
        id: "spiffe://example.org/institute/paula".into(),
        organisation: "institute".into(),
        project: "scans".into(),
        ceiling,
        may_plug_in,
        suspended: false,
        listed,
    }
}

fn module() -> ModuleFacts {
    ModuleFacts {
        name: "traffic".into(),
        hash_hex: "00ff".into(),
        developer: developer(AccessLevel::Payload),
        level: AccessLevel::Anonymized,
        output_level: AccessLevel::Anonymized,
        installed: true,
        blacklisted: false,
        endorsed: false,
    }
}

fn trace(level: AccessLevel) -> Resource {
    Resource::Trace(TraceFacts {
        level,
        window: Window::new(DAY_NS, DAY_NS + 60_000_000_000).unwrap(),
        trace_coverage: Window::new(0, 2 * DAY_NS).unwrap(),
        bytes_estimated: 1 << 20,
    })
}

fn decide(engine: &PolicyEngine, principal: &Principal, action: Action, resource: &Resource) -> Decision {
    engine.decide(&Ask {
        principal,
        action,
        resource,
        level: None,
        window: None,
        cost_bytes: 1 << 20,
        now_ns: 3 * DAY_NS,
    })
}

/// Who forbade it; panics where it was permitted or an error decided.
fn refusers(decision: Decision) -> Vec<String> {
    match decision {
        Decision::Deny {
            policies,
            rule,
            errors,
        } => {
            assert!(errors.is_empty(), "{errors:?}");
            assert!(!rule.is_empty());
            policies
        }
        Decision::Allow { policies } => panic!("permitted by {policies:?}"),
    }
}

fn engine(mode: SystemMode) -> PolicyEngine {
    PolicyEngine::builtin(mode).unwrap_or_else(|error| panic!("{mode}: {error}"))
}

/// The resource that an action is about.
fn resource_of(action: Action, module: &ModuleFacts) -> Resource {
    match action {
        Action::QueryAdHoc | Action::DownloadTrace => trace(AccessLevel::Anonymized),
        Action::Administer | Action::Status => Resource::Node,
        _ => Resource::Module(module.clone()),
    }
}

/// One row per action: may the operator, the module's developer, a stranger (any certificate), a listed
/// partner, and a listed partner who may plug in, do it? `y` yes, `.` no. All within their ceilings.
fn check_table(mode: SystemMode, table: [(Action, &str); 11]) {
    let engine = engine(mode);
    let level = AccessLevel::Anonymized;
    let principals = [
        operator(),
        developer_principal(&developer(AccessLevel::Payload)),
        partner(level, false, false),
        partner(level, true, false),
        partner(level, true, true),
    ];
    for (action, expected) in table {
        let resource = resource_of(action, &module());
        let found: String = principals
            .iter()
            .map(|principal| {
                if decide(&engine, principal, action, &resource).is_allow() {
                    'y'
                } else {
                    '.'
                }
            })
            .collect();
        assert_eq!(found, expected, "{mode} {action:?}");
    }
}

#[test]
fn public_table() {
    use Action::*;
    check_table(
        SystemMode::Public,
        [
            (SubmitModule, "yyyyy"),
            (StartModule, "yyyyy"),
            (QueryStatic, "y.yyy"),
            (QueryOnDemand, "y.yyy"),
            (QueryAdHoc, "y.yyy"),
            (DownloadTrace, "y.yyy"),
            (SendTo, "y.yyy"),
            (ReadRecords, "y.yyy"),
            (Revoke, "yy..."),
            (Administer, "y...."),
            (Status, "yyyyy"),
        ],
    );
}

#[test]
fn restricted_table() {
    use Action::*;
    check_table(
        SystemMode::Restricted,
        [
            (SubmitModule, "yy..y"),
            (StartModule, "y...y"),
            (QueryStatic, "y.yyy"),
            (QueryOnDemand, "y.yyy"),
            (QueryAdHoc, "y.yyy"),
            (DownloadTrace, "y.yyy"),
            (SendTo, "y.yyy"),
            (ReadRecords, "y.yyy"),
            (Revoke, "yy..."),
            (Administer, "y...."),
            (Status, "yyyyy"),
        ],
    );
}

#[test]
fn private_table() {
    use Action::*;
    check_table(
        SystemMode::Private,
        [
            (SubmitModule, "yy..y"),
            (StartModule, "y...y"),
            (QueryStatic, "y..yy"),
            (QueryOnDemand, "y..yy"),
            (QueryAdHoc, "y..yy"),
            (DownloadTrace, "y..yy"),
            (SendTo, "y..yy"),
            (ReadRecords, "y..yy"),
            (Revoke, "yy..."),
            (Administer, "y...."),
            (Status, "yy.yy"),
        ],
    );
}

#[test]
fn a_module_that_is_not_installed_is_run_only_for_those_who_may_plug_in() {
    let brought = Resource::Module(ModuleFacts {
        installed: false,
        ..module()
    });
    for (mode, without) in [
        (SystemMode::Public, true),
        (SystemMode::Restricted, false),
        (SystemMode::Private, false),
    ] {
        let engine = engine(mode);
        let level = AccessLevel::Anonymized;
        let ask = |may| {
            decide(
                &engine,
                &partner(level, true, may),
                Action::QueryOnDemand,
                &brought,
            )
        };
        assert_eq!(ask(false).is_allow(), without, "{mode}");
        assert!(ask(true).is_allow(), "{mode}");
    }
}

/// developer's and requester's ceilings both count: for every pair of ceilings and every level of a
/// module, in every mode.
#[test]
fn developers_and_requesters_ceilings_both_count() {
    for mode in SystemMode::ALL {
        let engine = engine(mode);
        for level in AccessLevel::ALL {
            for developer_ceiling in AccessLevel::ALL {
                for partner_ceiling in AccessLevel::ALL {
                    let module = ModuleFacts {
                        developer: developer(developer_ceiling),
                        level,
                        output_level: level,
                        ..module()
                    };
                    let decision = decide(
                        &engine,
                        &partner(partner_ceiling, true, true),
                        Action::QueryOnDemand,
                        &Resource::Module(module),
                    );
                    let expected = level <= developer_ceiling && level <= partner_ceiling;
                    assert_eq!(
                        decision.is_allow(),
                        expected,
                        "{mode} module {level} developer {developer_ceiling} partner {partner_ceiling}"
                    );
                }
            }
        }
    }
}

#[test]
fn the_trace_is_served_up_to_the_ceiling() {
    for mode in SystemMode::ALL {
        let engine = engine(mode);
        for level in AccessLevel::ALL {
            for ceiling in AccessLevel::ALL {
                let decision = decide(
                    &engine,
                    &partner(ceiling, true, false),
                    Action::DownloadTrace,
                    &trace(level),
                );
                let expected = level <= ceiling && level > AccessLevel::Aggregate;
                assert_eq!(decision.is_allow(), expected, "{mode} {level} for {ceiling}");
            }
        }
    }
}

/// The paper's worm-signature case: payload in, harmless output, endorsed by the operator.
#[test]
fn declassification_needs_the_operators_endorsement() {
    let reader = partner(AccessLevel::Coarse, true, false);
    for mode in SystemMode::ALL {
        let engine = engine(mode);
        let worm = ModuleFacts {
            level: AccessLevel::Payload,
            output_level: AccessLevel::Coarse,
            ..module()
        };
        let ask = |principal: &Principal, module: &ModuleFacts, action| {
            decide(&engine, principal, action, &Resource::Module(module.clone()))
        };
        let endorsed = ModuleFacts {
            endorsed: true,
            ..worm.clone()
        };
        assert!(ask(&reader, &endorsed, Action::QueryOnDemand).is_allow());
        assert!(
            refusers(ask(&reader, &worm, Action::QueryOnDemand)).contains(&"guard-declassification".into())
        );
        // The operator is bound too, until the endorsement exists.
        assert_eq!(
            refusers(ask(&operator(), &worm, Action::StartModule)),
            ["guard-declassification"]
        );
        // Bringing it is how it comes to be endorsed.
        let author = developer_principal(&worm.developer);
        assert!(ask(&author, &worm, Action::SubmitModule).is_allow());
        // An endorsement of the hash does not let a low partner bring it.
        let carried = ModuleFacts {
            installed: false,
            ..endorsed
        };
        assert!(
            !ask(
                &partner(AccessLevel::Coarse, true, true),
                &carried,
                Action::QueryOnDemand
            )
            .is_allow()
        );
    }
}

#[test]
fn guards_bind_everyone_in_every_mode() {
    for mode in SystemMode::ALL {
        let engine = engine(mode);
        let high = partner(AccessLevel::Payload, true, true);
        let refused = |principal: &Principal, module: ModuleFacts, guard: &str| {
            for action in [Action::QueryOnDemand, Action::ReadRecords, Action::StartModule] {
                let found = refusers(decide(
                    &engine,
                    principal,
                    action,
                    &Resource::Module(module.clone()),
                ));
                assert!(found.contains(&guard.to_owned()), "{mode} {action:?}: {found:?}");
            }
        };
        let revoked = DeveloperFacts {
            key_revoked: true,
            ..developer(AccessLevel::Payload)
        };
        for principal in [&high, &operator()] {
            refused(
                principal,
                ModuleFacts {
                    blacklisted: true,
                    ..module()
                },
                "guard-blacklisted",
            );
            refused(
                principal,
                ModuleFacts {
                    developer: revoked.clone(),
                    ..module()
                },
                "guard-module-key-revoked",
            );
            refused(
                principal,
                ModuleFacts {
                    developer: developer(AccessLevel::Coarse),
                    ..module()
                },
                "guard-developer-ceiling",
            );
        }
        // What puts such a module away stays possible.
        let bad = ModuleFacts {
            blacklisted: true,
            developer: revoked.clone(),
            ..module()
        };
        assert!(
            decide(
                &engine,
                &operator(),
                Action::Revoke,
                &Resource::Module(bad.clone())
            )
            .is_allow()
        );
        // Its developer is out altogether.
        let found = refusers(decide(
            &engine,
            &developer_principal(&revoked),
            Action::SubmitModule,
            &Resource::Module(bad),
        ));
        assert!(
            found.contains(&"guard-developer-key-revoked".to_owned()),
            "{found:?}"
        );
    }
}

#[test]
fn a_suspended_partner_may_do_nothing() {
    for mode in SystemMode::ALL {
        let engine = engine(mode);
        let mut suspended = partner(AccessLevel::Payload, true, true);
        if let Principal::Partner { suspended, .. } = &mut suspended {
            *suspended = true;
        }
        for action in Action::ALL {
            let found = refusers(decide(
                &engine,
                &suspended,
                action,
                &resource_of(action, &module()),
            ));
            assert!(
                found.contains(&"guard-suspended".to_owned()),
                "{mode} {action:?} {found:?}"
            );
        }
    }
}

#[test]
fn a_developer_acts_on_own_modules_only() {
    let engine = engine(SystemMode::Public);
    let mut other = developer(AccessLevel::Payload);
    other.id = "spiffe://example.org/university/mallory".into();
    for action in [Action::SubmitModule, Action::StartModule, Action::Revoke] {
        let found = refusers(decide(
            &engine,
            &developer_principal(&other),
            action,
            &Resource::Module(module()),
        ));
        assert_eq!(found, ["guard-own-module"]);
    }
}

#[test]
fn the_level_asked_counts_not_only_the_modules_output() {
    let engine = engine(SystemMode::Public);
    let reader = partner(AccessLevel::Anonymized, true, true);
    let resource = Resource::Module(module());
    let ask = |level| {
        engine.decide(&Ask {
            principal: &reader,
            action: Action::QueryOnDemand,
            resource: &resource,
            level,
            window: None,
            cost_bytes: 0,
            now_ns: 0,
        })
    };
    assert!(ask(Some(AccessLevel::Anonymized)).is_allow());
    assert!(!ask(Some(AccessLevel::Headers)).is_allow());
}

/// any evaluation error is a denial
#[test]
fn any_evaluation_error_is_a_denial() {
    // Overflow is the error that strict validation cannot rule out.
    for text in [
        r#"@id("all") @rule("all") permit (principal, action, resource);
           @id("limit") @rule("too dear") forbid (principal, action, resource)
           when { context.costBytes * 9000000000000000000 > 9 };"#,
        r#"@id("all") @rule("all") permit (principal, action, resource);
           @id("more") @rule("more") permit (principal, action, resource)
           when { context.costBytes * 9000000000000000000 > 9 };"#,
    ] {
        let engine = engine_from(SystemMode::Public, text).unwrap();
        let Decision::Deny { errors, rule, .. } = decide(
            &engine,
            &operator(),
            Action::DownloadTrace,
            &trace(AccessLevel::Headers),
        ) else {
            panic!("a policy that errors was skipped")
        };
        assert_eq!(errors.len(), 1, "{errors:?}");
        assert!(
            !rule.contains("overflow"),
            "the asker learns no internals: {rule}"
        );
    }
}

#[test]
fn an_ask_that_contradicts_itself_or_the_schema_is_denied() {
    let engine = engine(SystemMode::Public);
    let resource = trace(AccessLevel::Anonymized);
    let me = operator();
    let ask = Ask {
        principal: &me,
        action: Action::DownloadTrace,
        resource: &resource,
        level: None,
        window: None,
        cost_bytes: 0,
        now_ns: 0,
    };
    assert!(engine.decide(&ask).is_allow());
    let other_window = Window::new(0, 1).unwrap();
    for bad in [
        Ask {
            level: Some(AccessLevel::Payload),
            ..ask
        },
        Ask {
            window: Some(other_window),
            ..ask
        },
        Ask {
            action: Action::Administer,
            ..ask
        },
        Ask {
            resource: &Resource::Node,
            ..ask
        },
    ] {
        let Decision::Deny { errors, .. } = engine.decide(&bad) else {
            panic!("{bad:?}")
        };
        assert_eq!(errors.len(), 1);
    }
    // One developer with two sets of facts.
    let author = developer_principal(&developer(AccessLevel::Coarse));
    let module = Resource::Module(module());
    let ask = Ask {
        principal: &author,
        action: Action::SubmitModule,
        resource: &module,
        ..ask
    };
    let Decision::Deny { errors, .. } = engine.decide(&ask) else {
        panic!()
    };
    assert_eq!(errors.len(), 1);
}

#[test]
fn a_refusal_tells_the_rule() {
    let engine = engine(SystemMode::Restricted);
    let low = partner(AccessLevel::Coarse, true, false);
    let Decision::Deny { rule, .. } =
        decide(&engine, &low, Action::DownloadTrace, &trace(AccessLevel::Payload))
    else {
        panic!()
    };
    assert_eq!(rule, "This is above your access level.");
    let Decision::Deny { rule, policies, .. } =
        decide(&engine, &low, Action::Revoke, &Resource::Module(module()))
    else {
        panic!()
    };
    assert!(policies.is_empty());
    assert_eq!(
        rule,
        "Nothing in this node's restricted policy permits you to withdraw this module."
    );
}

#[test]
fn numbers_beyond_cedars_refuse_more() {
    let text = r#"@id("all") @rule("all") permit (principal, action, resource);
        @id("limit") @rule("too dear") forbid (principal, action, resource)
        unless { context.costBytes <= 1000 };"#;
    let engine = engine_from(SystemMode::Public, text).unwrap();
    let ask = |cost_bytes| {
        engine.decide(&Ask {
            principal: &operator(),
            action: Action::Status,
            resource: &Resource::Node,
            level: None,
            window: None,
            cost_bytes,
            now_ns: u64::MAX,
        })
    };
    assert!(ask(1000).is_allow());
    assert!(!ask(u64::MAX).is_allow());
}

fn engine_from(mode: SystemMode, text: &str) -> Result<PolicyEngine, String> {
    let mut file = tempfile::Builder::new().suffix(".cedar").tempfile().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    PolicyEngine::from_file(mode, file.path()).map_err(|error| error.to_string())
}

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

#[test]
fn decisions_are_thread_safe() {
    let engine = engine(SystemMode::Restricted);
    std::thread::scope(|scope| {
        for number in 0..8u8 {
            let engine = &engine;
            scope.spawn(move || {
                let ceiling = AccessLevel::from_u8(number % 5).unwrap();
                for level in [AccessLevel::Anonymized, AccessLevel::Payload].repeat(25) {
                    let decision = decide(
                        engine,
                        &partner(ceiling, true, false),
                        Action::DownloadTrace,
                        &trace(level),
                    );
                    assert_eq!(decision.is_allow(), level <= ceiling);
                }
            });
        }
    });
}

#[test]
fn decisions_keep_their_audit_form() {
    let deny = Decision::Deny {
        policies: vec!["guard-suspended".into()],
        rule: "no".into(),
        errors: vec![],
    };
    let json = serde_json::to_string(&deny).unwrap();
    assert_eq!(
        json,
        r#"{"decision":"deny","policies":["guard-suspended"],"rule":"no","errors":[]}"#
    );
    assert_eq!(serde_json::from_str::<Decision>(&json).unwrap(), deny);
}
