//! The three policy sets as tables: every action by typical principals, and every pair of ceilings.

use super::*;

/// One row per action: may the operator, the module's developer, a stranger (any certificate), a listed
/// partner, and a listed partner who may plug in, do it? `y` yes, `.` no. All within their ceilings.
fn check_table(mode: SystemMode, table: [(Action, &str); 14]) {
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
            (StopModule, "yyyyy"),
            (PauseModule, "yyyyy"),
            (ResumeModule, "yyyyy"),
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
            (StopModule, "yyyyy"),
            (PauseModule, "yyyyy"),
            (ResumeModule, "yyyyy"),
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
            (StopModule, "yy.yy"),
            (PauseModule, "yy.yy"),
            (ResumeModule, "yy.yy"),
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
                assert_eq!(
                    decision.is_allow(),
                    level <= ceiling,
                    "{mode} {level} for {ceiling}"
                );
            }
        }
    }
}
