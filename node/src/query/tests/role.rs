//! The role as the supervisor sees it: start, trust, stop, over the control link.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;

use como_capnp::wire_capnp::{down, query_start, up};

use super::authority::{Authority, Card};
use super::rig::{answer, get, tls_to};
use crate::link::{self, LinkReceiver, LinkSender};
use crate::query::{AuthorityParameters, QueryError, StartParameters, bind, run};

struct Role {
    address: SocketAddr,
    authority: Authority,
    sender: LinkSender,
    receiver: LinkReceiver,
    thread: std::thread::JoinHandle<Result<(), QueryError>>,
}

fn start_message(
    authority: &Authority,
    listen: &str,
) -> capnp::message::Builder<capnp::message::HeapAllocator> {
    let (certificate, key) = authority.server();
    let mut message = capnp::message::Builder::new_default();
    let mut start = message.init_root::<query_start::Builder>();
    start.set_listen(listen);
    start.set_certificate(&certificate[..]);
    start.set_key(&key[..]);
    start.set_node("spiffe://lab.example/node/one");
    set_authorities(start.init_trust(), &[authority.pinned()]);
    message
}

fn set_authorities(trust: como_capnp::wire_capnp::trust::Builder<'_>, list: &[AuthorityParameters]) {
    let mut authorities = trust.init_authorities(list.len() as u32);
    for (i, entry) in list.iter().enumerate() {
        let mut authority = authorities.reborrow().get(i as u32);
        authority.set_domain(&entry.domain[..]);
        authority.set_certificate(&entry.certificate_pem[..]);
        authority.set_revocations(&entry.revocations_pem[..]);
    }
}

impl Role {
    fn start() -> Self {
        let authority = Authority::new("lab.example");
        let message = start_message(&authority, "127.0.0.1:0");
        let mut start = StartParameters::read(message.get_root_as_reader().unwrap()).unwrap();
        start.bind().unwrap();
        let address = start.listener.as_ref().unwrap().local_addr().unwrap();
        let (ours, theirs): (OwnedFd, OwnedFd) = link::pair().unwrap();
        let (role_sender, role_receiver) = link::split("supervisor", theirs).unwrap();
        let (sender, receiver) = link::split("query", ours).unwrap();
        let thread = std::thread::spawn(move || run(role_sender, role_receiver, start));
        Role {
            address,
            authority,
            sender,
            receiver,
            thread,
        }
    }

    fn trust(&mut self, list: &[AuthorityParameters]) {
        let mut message = capnp::message::Builder::new_default();
        set_authorities(message.init_root::<down::Builder>().init_trust(), list);
        self.sender.send(&message).unwrap();
    }

    fn stop(&mut self) {
        let mut message = capnp::message::Builder::new_default();
        message.init_root::<down::Builder>().set_stop(());
        self.sender.send(&message).unwrap();
    }

    /// Asks for the status as `card`, answering as the supervisor; `None`: not let in.
    fn status(&mut self, card: &Card) -> Option<u16> {
        let (address, pem, card) = (self.address, self.authority.pem.clone(), card.clone());
        let client = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            runtime.block_on(async {
                let stream = tls_to(address, &pem, Some(&card), "http/1.1").await.ok()?;
                let io = hyper_util::rt::TokioIo::new(stream);
                let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.ok()?;
                tokio::spawn(connection);
                Some(
                    sender
                        .send_request(get("/v1/status"))
                        .await
                        .ok()?
                        .status()
                        .as_u16(),
                )
            })
        });
        self.receiver
            .set_timeout(Some(std::time::Duration::from_millis(50)))
            .unwrap();
        while !client.is_finished() {
            let Ok(Some(frame)) = self.receiver.recv() else {
                continue;
            };
            let message = como_capnp::read_message(&frame.bytes).unwrap();
            let up::Ask(ask) = message.get_root::<up::Reader>().unwrap().which().unwrap() else {
                panic!()
            };
            // An answer to nobody is ignored.
            answer(&mut self.sender, 999_999, 200, "", None, "");
            answer(&mut self.sender, ask.unwrap().get_id(), 200, "{}", None, "");
        }
        self.receiver.set_timeout(None).unwrap();
        client.join().unwrap()
    }
}

#[test]
fn it_serves_reloads_trust_and_says_stopped() {
    let mut role = Role::start();
    let alice = role.authority.client("upenn/alice");
    assert_eq!(role.status(&alice), Some(200));
    let revoked = role.authority.pinned_with(&role.authority.crl(&[&alice], 2100));
    role.trust(&[revoked]);
    let mut let_in = Some(200);
    for _ in 0..20 {
        let_in = role.status(&alice);
        if let_in.is_none() {
            break;
        }
    }
    assert_eq!(let_in, None);
    role.stop();
    let frame = role.receiver.recv().unwrap().unwrap();
    let message = como_capnp::read_message(&frame.bytes).unwrap();
    assert!(matches!(
        message.get_root::<up::Reader>().unwrap().which(),
        Ok(up::Stopped(()))
    ));
    role.thread.join().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(role.address).is_err());
}

#[test]
fn a_bad_trust_list_is_reported_and_changes_nothing() {
    let mut role = Role::start();
    role.trust(&[]);
    let frame = role.receiver.recv().unwrap().unwrap();
    let message = como_capnp::read_message(&frame.bytes).unwrap();
    let Ok(up::Failed(Ok(failed))) = message.get_root::<up::Reader>().unwrap().which() else {
        panic!("not reported")
    };
    assert!(!failed.get_what().unwrap().is_empty() && !failed.get_fix().unwrap().is_empty());
    let alice = role.authority.client("upenn/alice");
    assert_eq!(role.status(&alice), Some(200));
}

#[test]
fn it_ends_with_its_supervisor() {
    let role = Role::start();
    drop((role.sender, role.receiver));
    role.thread.join().unwrap().unwrap();
    assert!(std::net::TcpStream::connect(role.address).is_err());
}

#[test]
fn a_supervisor_that_talks_nonsense_ends_the_role_with_an_error() {
    let mut role = Role::start();
    role.sender.send_bytes(b"nonsense", &[]).unwrap();
    assert!(matches!(role.thread.join().unwrap(), Err(QueryError::Message(_))));
}

#[test]
fn a_port_in_use_and_unusable_keys_are_refused_at_start() {
    let taken = bind("query", "127.0.0.1:0").unwrap();
    let listen = taken.local_addr().unwrap().to_string();
    let authority = Authority::new("lab.example");
    let attempt = |listen: &str, change: fn(&mut StartParameters)| {
        let message = start_message(&authority, listen);
        let mut start = StartParameters::read(message.get_root_as_reader().unwrap()).unwrap();
        change(&mut start);
        let (_ours, theirs) = link::pair().unwrap();
        let (sender, receiver) = link::split("supervisor", theirs).unwrap();
        run(sender, receiver, start).unwrap_err()
    };
    assert!(matches!(attempt(&listen, |_| {}), QueryError::PortInUse { .. }));
    let foreign = |start: &mut StartParameters| {
        let (_, key) = Authority::new("other.example").server();
        *start.key_pem = key;
    };
    assert!(matches!(
        attempt("127.0.0.1:0", foreign),
        QueryError::ServerCertificate(_)
    ));
    assert!(matches!(
        attempt("127.0.0.1:0", |s| s.key_pem.clear()),
        QueryError::ServerCertificate(_)
    ));
    assert!(matches!(
        attempt("127.0.0.1:0", |s| s.certificate_pem.clear()),
        QueryError::ServerCertificate(_)
    ));
    assert!(matches!(
        attempt("127.0.0.1:0", |s| s.authorities.clear()),
        QueryError::NoAuthority
    ));
}
