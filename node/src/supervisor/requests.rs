//! From bytes of the network to a request that its asker really made, for this node, just now.
//! Must never act: it only reads and verifies.

use std::collections::BTreeMap;

use como_capnp::api_capnp as api;
use como_keys::signing::{Signature, VerifyingKey};
use como_policies::{AccessLevel, Window};

use super::answers::Refusal;
use super::nonces::Nonces;
use super::wishes::Steer;
use crate::wire::{array, text};

/// DSSE payload type of a signed request.
pub const REQUEST_TYPE: &str = "application/vnd.como.request+capnp;v=1";
/// Version of the request message.
pub const REQUEST_VERSION: u16 = 1;
/// How far ahead a request may expire, ns: bounds the memory of seen nonces.
pub const MAX_EXPIRY_AHEAD_NS: u64 = 600_000_000_000;
/// Most arguments that a request may give a module.
pub const MAX_ARGUMENTS: u32 = 64;

/// Names a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleName {
    /// Its name.
    pub name: String,
    /// SHA-256 of the wasm; `None`: the newest release of that name.
    pub hash: Option<[u8; 32]>,
}

/// Named values for a module's arguments.
pub type Arguments = BTreeMap<String, i64>;

/// Which packets are asked for, at which level: what every question for data says.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Filter text, on the asker's view.
    pub filter: String,
    /// The level asked.
    pub level: AccessLevel,
    /// The window asked, snapped to the level's grain.
    pub window: Window,
    /// Decide and estimate only.
    pub explain: bool,
}

/// An on-demand query.
#[derive(Clone, Debug)]
pub struct QueryAsked {
    /// Which module.
    pub module: ModuleName,
    /// A signed module sent along.
    pub carried: Option<Vec<u8>>,
    /// Its arguments.
    pub arguments: Arguments,
    /// Of which packets.
    pub scope: Scope,
    /// Do not reuse stored records.
    pub fresh: bool,
    /// Length of the intervals wanted, ns; 0: the module's own.
    pub every_ns: u64,
}

/// What is asked.
pub enum Request {
    /// Bring a module.
    SubmitModule(Vec<u8>),
    /// Run a module on the live stream.
    StartModule(ModuleName, Arguments),
    /// Stop it, interrupt it, let it go on.
    SteerModule(ModuleName, Steer),
    /// The modules of this node.
    ListModules,
    /// Withdraw a module.
    RevokeModule(ModuleName),
    /// An on-demand query.
    Query(Box<QueryAsked>),
    /// A trace download.
    Trace(Box<Scope>),
    /// State of a query.
    QueryState(String),
    /// Cancel a query.
    Cancel(String),
    /// What the node has.
    Catalog,
    /// How the node is.
    Status,
}

/// Verifies a signed request and reads it.
///
/// `tls_asker` is the SPIFFE id of the client certificate as the query process reports it; the signature
/// must be by a key that `keys` holds for that same id, so a compromised query process can neither make
/// up a request nor lend one partner's request another's name.
pub fn authenticate(
    signed: &[u8],
    tls_asker: &str,
    node: &str,
    keys: impl Fn(&str) -> Vec<VerifyingKey>,
    now_ns: u64,
    nonces: &mut Nonces,
) -> Result<Request, Refusal> {
    let envelope = como_capnp::read_message(signed)?;
    let envelope: api::signed_request::Reader<'_> = envelope.get_root()?;
    let bytes = envelope.get_request()?;
    let signature = Signature::from_slice(envelope.get_signature()?)
        .map_err(|_| Refusal::Malformed("the signature is not 64 bytes".into()))?;
    let key_id = envelope.get_key_id()?;
    let known = keys(tls_asker);
    if known.is_empty() {
        return Err(Refusal::Unknown(format!(
            "{tls_asker} has no request key on this node"
        )));
    }
    let key = known
        .iter()
        .find(|key| key.key_id().0 == key_id)
        .ok_or_else(|| Refusal::NotAuthentic(format!("the signing key is not one of {tls_asker}")))?;
    key.verify_dsse(REQUEST_TYPE, bytes, &signature)
        .map_err(|_| Refusal::NotAuthentic("the signature does not fit the request".into()))?;

    let message = como_capnp::read_message(bytes)?;
    let request: api::request::Reader<'_> = message.get_root()?;
    if request.get_version() != REQUEST_VERSION {
        return Err(Refusal::Malformed(format!(
            "request version {} is not known here",
            request.get_version()
        )));
    }
    let (meant, asker) = (text(request.get_node())?, text(request.get_asker())?);
    if meant != node {
        return Err(Refusal::NotAuthentic(format!(
            "the request is for {meant}, this is {node}"
        )));
    }
    if asker != tls_asker {
        return Err(Refusal::NotAuthentic(format!(
            "the request is by {asker}, the connection by {tls_asker}"
        )));
    }
    let expiry_ns = request.get_expiry_ns();
    if expiry_ns <= now_ns || expiry_ns > now_ns + MAX_EXPIRY_AHEAD_NS {
        return Err(Refusal::NotAuthentic(
            "the request has expired, or its clock is off".into(),
        ));
    }
    nonces.take(array(request.get_nonce()?)?, expiry_ns, now_ns)?;
    read(request)
}

fn read(request: api::request::Reader<'_>) -> Result<Request, Refusal> {
    use api::request::Which;
    let which = request.which().map_err(|_| {
        Refusal::Malformed("this node is older than the request: it asks for something unknown".into())
    })?;
    Ok(match which {
        Which::SubmitModule(submit) => Request::SubmitModule(submit?.get_module()?.to_vec()),
        Which::StartModule(start) => {
            let start = start?;
            Request::StartModule(
                module_name(start.get_module()?)?,
                arguments(start.get_arguments()?)?,
            )
        }
        Which::StopModule(module) => Request::SteerModule(module_name(module?)?, Steer::Stop),
        Which::PauseModule(module) => Request::SteerModule(module_name(module?)?, Steer::Pause),
        Which::ResumeModule(module) => Request::SteerModule(module_name(module?)?, Steer::Resume),
        Which::ListModules(()) => Request::ListModules,
        Which::RevokeModule(module) => Request::RevokeModule(module_name(module?)?),
        Which::Query(query) => Request::Query(Box::new(read_query(query?)?)),
        Which::Trace(trace) => Request::Trace(Box::new(read_trace(trace?)?)),
        Which::QueryState(query) => Request::QueryState(text(query?.get_id())?),
        Which::Cancel(query) => Request::Cancel(text(query?.get_id())?),
        Which::Catalog(()) => Request::Catalog,
        Which::Status(()) => Request::Status,
    })
}

fn read_query(query: api::query::Reader<'_>) -> Result<QueryAsked, Refusal> {
    let carried = query.get_carried()?;
    let level = level(query.get_level())?;
    Ok(QueryAsked {
        module: module_name(query.get_module()?)?,
        carried: (!carried.is_empty()).then(|| carried.to_vec()),
        arguments: arguments(query.get_arguments()?)?,
        scope: Scope {
            filter: text(query.get_filter())?,
            level,
            window: window(query.get_from_ns(), query.get_to_ns(), level)?,
            explain: query.get_explain(),
        },
        fresh: query.get_fresh(),
        every_ns: query.get_every_ns(),
    })
}

fn read_trace(trace: api::trace_download::Reader<'_>) -> Result<Scope, Refusal> {
    let level = level(trace.get_level())?;
    Ok(Scope {
        filter: text(trace.get_filter())?,
        level,
        window: window(trace.get_from_ns(), trace.get_to_ns(), level)?,
        explain: trace.get_explain(),
    })
}

/// The window, snapped outward to the level's grain: a finer one would measure times that the level hides.
fn window(from_ns: u64, to_ns: u64, level: AccessLevel) -> Result<Window, Refusal> {
    let window = Window::new(from_ns, to_ns).map_err(|e| Refusal::BadWindow(first_line(&e)))?;
    Ok(window.snap(level))
}

fn level(number: u8) -> Result<AccessLevel, Refusal> {
    AccessLevel::from_u8(number).ok_or_else(|| Refusal::Malformed(format!("{number} is not an access level")))
}

fn module_name(module: api::module_ref::Reader<'_>) -> Result<ModuleName, Refusal> {
    let hash = module.get_hash()?;
    let hash = if hash.is_empty() { None } else { Some(array(hash)?) };
    Ok(ModuleName {
        name: text(module.get_name())?,
        hash,
    })
}

fn arguments(list: capnp::struct_list::Reader<'_, api::argument::Owned>) -> Result<Arguments, Refusal> {
    if list.len() > MAX_ARGUMENTS {
        return Err(Refusal::BadArguments(format!(
            "{} arguments, at most {MAX_ARGUMENTS}",
            list.len()
        )));
    }
    list.iter()
        .map(|a| Ok((text(a.get_name())?, a.get_value())))
        .collect()
}

/// The first line of an error: what is wrong.
pub fn first_line(error: &impl std::fmt::Display) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_keys::signing::SigningKey;

    const NODE: &str = "spiffe://c.example/o/node";
    const ASKER: &str = "spiffe://c.example/o/ada";
    const NOW: u64 = 1_000_000_000_000;

    struct Letter {
        node: &'static str,
        asker: &'static str,
        nonce: [u8; 16],
        expiry_ns: u64,
        from_ns: u64,
        to_ns: u64,
    }

    const GOOD: Letter = Letter {
        node: NODE,
        asker: ASKER,
        nonce: [1; 16],
        expiry_ns: NOW + 1,
        from_ns: 5,
        to_ns: 1_500_000,
    };

    fn sealed(letter: &Letter, key: &SigningKey) -> Vec<u8> {
        let mut message = capnp::message::Builder::new_default();
        let mut request: api::request::Builder<'_> = message.init_root();
        request.set_version(REQUEST_VERSION);
        request.set_node(letter.node);
        request.set_asker(letter.asker);
        request.set_nonce(&letter.nonce);
        request.set_expiry_ns(letter.expiry_ns);
        let mut trace = request.init_trace();
        trace.set_level(2);
        trace.set_from_ns(letter.from_ns);
        trace.set_to_ns(letter.to_ns);
        let bytes = como_capnp::write_message(&message);
        let mut message = capnp::message::Builder::new_default();
        let mut signed: api::signed_request::Builder<'_> = message.init_root();
        signed.set_request(&bytes);
        signed.set_key_id(&key.verifying_key().key_id().0);
        signed.set_signature(&key.sign_dsse(REQUEST_TYPE, &bytes).0);
        como_capnp::write_message(&message)
    }

    fn check(bytes: &[u8], key: &SigningKey, nonces: &mut Nonces) -> Result<Request, Refusal> {
        let known = |id: &str| {
            if id == ASKER {
                vec![key.verifying_key()]
            } else {
                vec![]
            }
        };
        authenticate(bytes, ASKER, NODE, known, NOW, nonces)
    }

    fn kind(result: Result<Request, Refusal>) -> &'static str {
        result.err().map_or("accepted", |refusal| refusal.kind())
    }

    #[test]
    fn a_request_is_good_once_for_one_node_from_one_asker() {
        let key = SigningKey::generate();
        let mut nonces = Nonces::default();
        let bytes = sealed(&GOOD, &key);
        let Request::Trace(asked) = check(&bytes, &key, &mut nonces).unwrap() else {
            panic!("not a trace")
        };
        assert_eq!(
            (asked.window.from_ns, asked.window.to_ns),
            (0, 2_000_000),
            "snapped to 1 ms"
        );
        assert_eq!(
            kind(check(&bytes, &key, &mut nonces)),
            "not-authentic",
            "replayed"
        );
        let fresh = || Nonces::default();
        let with = |letter: Letter| kind(check(&sealed(&letter, &key), &key, &mut fresh()));
        assert_eq!(
            with(Letter {
                node: "spiffe://c.example/o/other",
                ..GOOD
            }),
            "not-authentic"
        );
        assert_eq!(
            with(Letter {
                asker: "spiffe://c.example/o/eve",
                ..GOOD
            }),
            "not-authentic"
        );
        assert_eq!(
            with(Letter {
                expiry_ns: NOW,
                ..GOOD
            }),
            "not-authentic"
        );
        assert_eq!(
            with(Letter {
                expiry_ns: NOW + MAX_EXPIRY_AHEAD_NS + 1,
                ..GOOD
            }),
            "not-authentic"
        );
        assert_eq!(
            with(Letter {
                from_ns: 9,
                to_ns: 3,
                ..GOOD
            }),
            "bad-window"
        );
        assert_eq!(
            with(Letter {
                from_ns: 9,
                to_ns: 9,
                ..GOOD
            }),
            "bad-window"
        );
        assert_eq!(with(GOOD), "accepted");
    }

    #[test]
    fn another_key_or_any_flipped_bit_is_refused() {
        let (key, other) = (SigningKey::generate(), SigningKey::generate());
        assert_eq!(
            kind(check(&sealed(&GOOD, &other), &key, &mut Nonces::default())),
            "not-authentic"
        );
        let good = sealed(&GOOD, &key);
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if let Ok(request) = check(&bad, &key, &mut Nonces::default()) {
                // Padding of the outer message is not signed; what was asked is the same.
                assert!(
                    matches!(request, Request::Trace(t) if t.window.to_ns == 2_000_000),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn an_unregistered_asker_is_told_to_register() {
        let key = SigningKey::generate();
        let result = authenticate(
            &sealed(&GOOD, &key),
            ASKER,
            NODE,
            |_| vec![],
            NOW,
            &mut Nonces::default(),
        );
        assert_eq!(kind(result), "unknown-asker");
    }

    proptest::proptest! {
        #[test]
        fn random_bytes_never_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..400)) {
            let key = SigningKey::generate();
            proptest::prop_assert!(check(&bytes, &key, &mut Nonces::default()).is_err());
        }
    }
}
