//! What CoMo is for, end to end: people, a node, modules and datasets, through the real programs.

use super::harness::{Deployment, open_packets};

#[test]
fn a_partner_downloads_what_the_link_carried() {
    let mut site = Deployment::new().capture(2_000, 3);
    let ann = site.partner("ann", "anonymized", false);
    let node = site.start();
    node.ingested();
    ann.trace(&["--all"], "all.como").ok();
    let packets = open_packets(&ann, &ann.path("all.como"));
    assert_eq!(packets.frames.len(), 2_000);
    node.stop();
}
