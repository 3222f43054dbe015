//! The guards: what no set may permit.

use super::*;

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
