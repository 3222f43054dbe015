//! Keys of epochs for the roles that write: public sealing keys, and for capture the mapping keys.
//! Private identities never pass through here.

use como_keys::KeyError;
use como_keys::keyring::{SEALING_EPOCH_NS, Section, mapping_epoch};
use como_policies::AccessLevel;

use super::Supervisor;
use super::children::{ChildId, Purpose};
use crate::process::Role;
use crate::wire;

impl Supervisor {
    /// Answers `needEpoch`: makes the epoch's keys where it has none yet, saves them, then hands them out.
    pub(super) fn give_epoch(&mut self, to: ChildId, sealing_epoch: u32) -> Result<(), KeyError> {
        let Some(child) = self.children.get(to) else {
            return Ok(());
        };
        let role = child.role;
        let mapping = mapping_epoch(u64::from(sealing_epoch) * SEALING_EPOCH_NS);
        let known = self
            .keyring
            .trace_identity_if_present(sealing_epoch, Section::A)
            .is_some();
        let mut trace = Vec::new();
        for section in Section::ALL {
            trace.push(self.keyring.trace_recipient(sealing_epoch, section)?.to_bytes());
        }
        let mut records = Vec::new();
        for level in AccessLevel::ALL {
            records.push(
                self.keyring
                    .record_identity(sealing_epoch, level.as_u8())?
                    .recipient()
                    .to_bytes(),
            );
        }
        let node_map = self.keyring.mapping_key(mapping)?;
        let mut audiences = Vec::new();
        if role == Role::Capture {
            self.capture_epoch = Some(sealing_epoch);
            for audience in self.live_audiences() {
                let key = self.keyring.audience_key(mapping, &audience)?;
                audiences.push((audience, key));
            }
        }
        if !known {
            // On disk before anything is sealed to it: a crash must not lose the only key.
            self.save_keyring()?;
            self.log(&super::audit::Event::KeysMade { sealing_epoch });
        }
        let message = wire::down(|down| {
            let mut keys = down.init_epoch_keys();
            keys.set_sealing_epoch(sealing_epoch);
            keys.set_mapping_epoch(mapping);
            keys.set_recipient_a(&trace[0]);
            keys.set_recipient_r(&trace[1]);
            keys.set_recipient_p(&trace[2]);
            if role == Role::Capture {
                keys.set_mapping_key(node_map.expose());
                let mut list = keys.reborrow().init_audiences(audiences.len() as u32);
                for (i, (audience, key)) in audiences.iter().enumerate() {
                    let mut to = list.reborrow().get(i as u32);
                    to.set_audience(audience);
                    to.set_mapping_epoch(mapping);
                    to.set_key(key.expose());
                }
            } else {
                let mut list = keys.init_records(records.len() as u32);
                for (i, recipient) in records.iter().enumerate() {
                    list.set(i as u32, recipient);
                }
            }
        });
        self.children.send(to, message);
        Ok(())
    }

    /// Audiences for which export processes run, without the node's own.
    pub(super) fn live_audiences(&self) -> Vec<String> {
        let mut list: Vec<_> = self
            .children
            .iter()
            .filter_map(|(_, child)| match &child.purpose {
                Purpose::Export(key) if !key.audience.is_empty() => Some(key.audience.clone()),
                _ => None,
            })
            .collect();
        list.sort();
        list.dedup();
        list
    }
}
