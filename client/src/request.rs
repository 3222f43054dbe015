//! Requests to a node, as Cap'n Proto messages signed by the asker's own key.
//!
//! Owns how they are built (capnp/schema/api.capnp); must never send them.

use como_capnp::api_capnp;
use como_keys::signing::SigningKey;

use crate::spiffe::SpiffeId;

/// DSSE payload type of a signed request.
pub const PAYLOAD_TYPE: &str = "application/vnd.como.request+capnp;v=1";
/// Version of the request message.
pub const VERSION: u16 = 1;
/// How long a request is good for, in nanoseconds: long enough for clocks that are a minute apart,
/// below the node's limit of ten minutes.
pub const VALID_NS: u64 = 5 * 60 * crate::time::NS_PER_S;

/// Largest signed module in a request, in bytes (capnp/schema/api.capnp).
pub const MAX_MODULE_BYTES: u64 = 4 << 20;

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Take this signed module (a .cmod file's bytes).
    SubmitModule(Vec<u8>),
    /// Run a module live.
    StartModule {
        /// Which.
        module: ModuleRef,
        /// Arguments, by name.
        arguments: Vec<(String, i64)>,
    },
    /// Stop a module that runs live.
    StopModule(ModuleRef),
    /// Interrupt it.
    PauseModule(ModuleRef),
    /// Let it go on.
    ResumeModule(ModuleRef),
    /// Which modules are there?
    ListModules,
    /// Withdraw a module for good.
    RevokeModule(ModuleRef),
    /// Run a module over a window.
    Query(Query),
    /// Hand out packets.
    Trace(Trace),
    /// Stop a query.
    Cancel(String),
}

/// A module, by name, by hash or both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ModuleRef {
    /// Name; empty where the hash says it.
    pub name: String,
    /// SHA-256 of its wasm; empty: the newest release of the name.
    pub hash: Vec<u8>,
}

/// An on-demand query.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Query {
    /// Which module.
    pub module: ModuleRef,
    /// A signed module sent along; empty: one that the node has.
    pub carried: Vec<u8>,
    /// Arguments, by name.
    pub arguments: Vec<(String, i64)>,
    /// Filter on the asker's view.
    pub filter: String,
    /// Access level of that view, 0 to 4.
    pub level: u8,
    /// First nanosecond of the window.
    pub from_ns: u64,
    /// First nanosecond after the window.
    pub to_ns: u64,
    /// Decide and estimate only.
    pub explain: bool,
    /// Do not reuse stored records.
    pub fresh: bool,
    /// Length of the intervals wanted, ns; 0: the module's own.
    pub every_ns: u64,
}

/// A trace download.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Trace {
    /// Filter on the asker's view.
    pub filter: String,
    /// Access level of the packets, 0 to 4.
    pub level: u8,
    /// First nanosecond of the window.
    pub from_ns: u64,
    /// First nanosecond after the window.
    pub to_ns: u64,
    /// Decide and estimate only.
    pub explain: bool,
}

/// Who asks whom: what every request carries.
#[derive(Debug, Clone, Copy)]
pub struct Parties<'a> {
    /// The node that is meant.
    pub node: &'a SpiffeId,
    /// Who asks.
    pub asker: &'a SpiffeId,
}

/// One signed request, ready to send. Every call draws a nonce of its own: a request is good once.
pub fn sign(ask: &Ask, parties: Parties<'_>, key: &SigningKey, now_ns: u64) -> Vec<u8> {
    let request = encode(
        ask,
        parties,
        &como_keys::random::<16>(),
        now_ns.saturating_add(VALID_NS),
    );
    let signature = key.sign_dsse(PAYLOAD_TYPE, &request);
    let mut message = capnp::message::Builder::new_default();
    let mut signed = message.init_root::<api_capnp::signed_request::Builder>();
    signed.set_request(&request);
    signed.set_key_id(&key.verifying_key().key_id().0);
    signed.set_signature(&signature.0);
    como_capnp::write_message(&message)
}

fn encode(ask: &Ask, parties: Parties<'_>, nonce: &[u8], expiry_ns: u64) -> Vec<u8> {
    let mut message = capnp::message::Builder::new_default();
    let mut request = message.init_root::<api_capnp::request::Builder>();
    request.set_version(VERSION);
    request.set_node(parties.node.as_str());
    request.set_asker(parties.asker.as_str());
    request.set_nonce(nonce);
    request.set_expiry_ns(expiry_ns);
    match ask {
        Ask::SubmitModule(bytes) => request.init_submit_module().set_module(bytes),
        Ask::StartModule { module, arguments } => {
            let mut start = request.init_start_module();
            set_module(start.reborrow().init_module(), module);
            set_arguments(start.init_arguments(arguments.len() as u32), arguments);
        }
        Ask::StopModule(module) => set_module(request.init_stop_module(), module),
        Ask::PauseModule(module) => set_module(request.init_pause_module(), module),
        Ask::ResumeModule(module) => set_module(request.init_resume_module(), module),
        Ask::ListModules => request.set_list_modules(()),
        Ask::RevokeModule(module) => set_module(request.init_revoke_module(), module),
        Ask::Query(query) => set_query(request.init_query(), query),
        Ask::Trace(trace) => {
            let mut download = request.init_trace();
            download.set_filter(&trace.filter);
            download.set_level(trace.level);
            download.set_from_ns(trace.from_ns);
            download.set_to_ns(trace.to_ns);
            download.set_explain(trace.explain);
        }
        Ask::Cancel(id) => request.init_cancel().set_id(id),
    }
    como_capnp::write_message(&message)
}

fn set_query(mut builder: api_capnp::query::Builder<'_>, query: &Query) {
    set_module(builder.reborrow().init_module(), &query.module);
    set_arguments(
        builder.reborrow().init_arguments(query.arguments.len() as u32),
        &query.arguments,
    );
    builder.set_carried(&query.carried);
    builder.set_filter(&query.filter);
    builder.set_level(query.level);
    builder.set_from_ns(query.from_ns);
    builder.set_to_ns(query.to_ns);
    builder.set_explain(query.explain);
    builder.set_fresh(query.fresh);
    builder.set_every_ns(query.every_ns);
}

fn set_module(mut builder: api_capnp::module_ref::Builder<'_>, module: &ModuleRef) {
    builder.set_name(&module.name);
    builder.set_hash(&module.hash);
}

fn set_arguments(
    mut builder: capnp::struct_list::Builder<'_, api_capnp::argument::Owned>,
    arguments: &[(String, i64)],
) {
    for (i, (name, value)) in arguments.iter().enumerate() {
        let mut argument = builder.reborrow().get(i as u32);
        argument.set_name(name);
        argument.set_value(*value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use como_keys::signing::{KeyId, Signature};

    fn signed(ask: &Ask, key: &SigningKey) -> (Vec<u8>, KeyId, Signature) {
        let (node, asker) = (
            "spiffe://c/o/node".parse().unwrap(),
            "spiffe://c/o/alice".parse().unwrap(),
        );
        let bytes = sign(
            ask,
            Parties {
                node: &node,
                asker: &asker,
            },
            key,
            1_000,
        );
        let message = como_capnp::read_message(&bytes).unwrap();
        let signed = message.get_root::<api_capnp::signed_request::Reader>().unwrap();
        (
            signed.get_request().unwrap().to_vec(),
            KeyId(signed.get_key_id().unwrap().try_into().unwrap()),
            Signature(signed.get_signature().unwrap().try_into().unwrap()),
        )
    }

    #[test]
    fn a_signed_query_says_what_was_asked_and_verifies() {
        let key = SigningKey::generate();
        let query = Query {
            module: ModuleRef {
                name: "topports".into(),
                hash: vec![7; 32],
            },
            carried: vec![1, 2, 3],
            arguments: vec![("k".into(), -10), ("depth".into(), 2)],
            filter: "tcp and port 443".into(),
            level: 2,
            from_ns: 5,
            to_ns: 9,
            explain: false,
            fresh: true,
            every_ns: 60,
        };
        let (request, key_id, signature) = signed(&Ask::Query(query), &key);
        assert_eq!(key_id, key.verifying_key().key_id());
        key.verifying_key()
            .verify_dsse(PAYLOAD_TYPE, &request, &signature)
            .unwrap();
        let message = como_capnp::read_message(&request).unwrap();
        let reader = message.get_root::<api_capnp::request::Reader>().unwrap();
        assert_eq!(reader.get_version(), VERSION);
        assert_eq!(reader.get_node().unwrap(), "spiffe://c/o/node");
        assert_eq!(reader.get_asker().unwrap(), "spiffe://c/o/alice");
        assert_eq!(reader.get_nonce().unwrap().len(), 16);
        assert_eq!(reader.get_expiry_ns(), 1_000 + VALID_NS);
        let api_capnp::request::Which::Query(Ok(query)) = reader.which().unwrap() else {
            panic!("not a query")
        };
        assert_eq!(query.get_module().unwrap().get_name().unwrap(), "topports");
        assert_eq!(query.get_module().unwrap().get_hash().unwrap(), [7; 32]);
        assert_eq!(query.get_carried().unwrap(), [1, 2, 3]);
        let arguments = query.get_arguments().unwrap();
        let arguments: Vec<_> = arguments
            .iter()
            .map(|a| (a.get_name().unwrap().to_string().unwrap(), a.get_value()))
            .collect();
        assert_eq!(arguments, [("k".to_owned(), -10), ("depth".to_owned(), 2)]);
        assert_eq!(query.get_filter().unwrap(), "tcp and port 443");
        assert_eq!(
            (query.get_level(), query.get_from_ns(), query.get_to_ns()),
            (2, 5, 9)
        );
        assert!(query.get_fresh() && !query.get_explain());
        assert_eq!(query.get_every_ns(), 60);
    }

    #[test]
    fn two_requests_never_share_a_nonce() {
        let key = SigningKey::generate();
        assert_ne!(
            signed(&Ask::ListModules, &key).0,
            signed(&Ask::ListModules, &key).0
        );
    }

    #[test]
    fn a_request_is_good_for_less_than_the_node_allows() {
        const { assert!(VALID_NS < 10 * 60 * crate::time::NS_PER_S) }
    }
}
