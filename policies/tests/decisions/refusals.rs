//! What must deny whatever a set says, and what the asker is told.

use super::*;

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
