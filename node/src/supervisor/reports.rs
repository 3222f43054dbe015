//! What roles say, and who may say what: a role that speaks out of turn is compromised, and ends.

use std::collections::{BTreeMap, BTreeSet};

use como_capnp::wire_capnp as wire;
use como_keys::signing::{Certificate, VerifyingKey};
use como_policies::{AccessLevel, Window};

use super::audit::Event;
use super::catalog::{Coverage, MetricKey, Segment, SegmentEnd};
use super::children::{ChildId, Purpose};
use super::{Supervisor, now_ns};
use crate::link::Frame;
use crate::process::Role;
use crate::records;
use crate::trace::{GapCause, RunKey};
use crate::wire::{array, down, text};

/// How long the certificate of a capture run is valid, ns: no run lasts longer.
const RUN_CERTIFICATE_NS: u64 = 400 * 86_400_000_000_000;
/// A capture run's clock may differ from ours by this much, ns.
const CLOCK_SLACK_NS: u64 = 3_600_000_000_000;

/// The newest reports.
#[derive(Default)]
pub(super) struct Reports {
    /// Of capture.
    pub capture: CaptureState,
    /// Of storage.
    pub storage: StorageState,
    /// Whether storage has told which records it has.
    pub records_known: bool,
    /// Roles that ended before they ever worked.
    pub ready_once: BTreeSet<&'static str>,
    /// The last failure that each role reported.
    pub failures: BTreeMap<&'static str, String>,
}

/// How capture is.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct CaptureState {
    pub packets: u64,
    pub bytes: u64,
    pub lost: u64,
    pub shed: u64,
    pub poisoned: u64,
    pub now_ns: u64,
    pub acknowledged: u64,
    pub source_done: bool,
    pub offset: u64,
    pub out_of_order: u64,
    pub sealed_bytes: u64,
    pub denied: u64,
    /// Packets lost, by cause.
    pub losses: BTreeMap<String, u64>,
    /// Live views that were made, by level.
    pub views: BTreeMap<AccessLevel, u64>,
    pub views_sent: u64,
    /// Live modules see one packet in so many; of several consumers the one that sees fewest.
    pub sampled: u32,
    /// How full the fullest of its queues is, per mille.
    pub pressure: u16,
    pub warning: String,
}

/// How storage is.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(super) struct StorageState {
    pub segments: u32,
    pub bytes: u64,
    pub free_bytes: u64,
    pub disk_full: bool,
    pub duplicates: u64,
    pub torn_bytes: u64,
    pub record_files: u32,
    pub record_bytes: u64,
    pub blocks: u64,
    pub stored_bytes: u64,
    pub warning: String,
}

impl Reports {
    /// A role ended; what it reported is of the past.
    pub fn forget(&mut self, role: Role) {
        if role == Role::Storage {
            self.storage = StorageState::default();
            self.records_known = false;
        }
        if role == Role::Capture {
            self.capture.pressure = 0;
        }
    }
}

impl Supervisor {
    /// Takes one message of a role.
    pub(super) fn said(&mut self, from: ChildId, frame: Frame) {
        let Some(child) = self.children.get(from) else {
            return;
        };
        let role = child.role;
        if let Err(error) = self.take(from, role, &frame.bytes) {
            // Never answer a role that breaks the protocol: it may be somebody else's program by now.
            tracing::error!(role = role.name(), "ended, it spoke out of turn: {error}");
            self.children.kill(from);
        }
    }

    fn take(&mut self, from: ChildId, role: Role, bytes: &[u8]) -> capnp::Result<()> {
        use wire::up::Which;
        let message = como_capnp::read_message(bytes)?;
        match (role, message.get_root::<wire::up::Reader<'_>>()?.which()?) {
            (_, Which::Ready(ready)) => self.role_ready(from, &text(ready?.get_sandbox())?),
            (_, Which::Failed(failed)) => {
                let failed = failed?;
                let what = format!("{}\n{}", text(failed.get_what())?, text(failed.get_fix())?);
                self.role_failed(from, role, what, failed.get_lasting());
            }
            (_, Which::Stopped(())) => {}
            (Role::Capture, Which::CertifyRun(key)) => self.certify(from, array(key?)?)?,
            (Role::Capture | Role::Export, Which::NeedEpoch(epoch)) => {
                if let Err(error) = self.give_epoch(from, epoch) {
                    tracing::error!("no keys for epoch {epoch}: {error}");
                    self.children.kill(from);
                    self.import_refused(epoch, &error);
                }
            }
            (Role::Capture, Which::Capture(report)) => self.capture_report(report?)?,
            (Role::Storage, Which::Segment(state)) => self.segment_state(state?)?,
            (Role::Storage, Which::SegmentGone(id)) => {
                let id: [u8; 16] = array(id?)?;
                self.catalog.remove_segment(&id);
                self.opened.forget(&id);
                self.log(&Event::Expired {
                    segment: &hex::encode(id),
                });
            }
            (Role::Storage, Which::Records(state)) => self.record_state(state?)?,
            (Role::Storage, Which::RecordsGone(file)) => self.catalog.remove_records(file?.to_str()?),
            (Role::Storage, Which::Storage(report)) => self.storage_report(report?)?,
            (Role::Query, Which::Ask(ask)) => self.ask(from, ask?)?,
            (Role::Reader, Which::Progress(progress)) => {
                let progress = progress?;
                self.job_progress(from, progress);
            }
            (Role::Runner, Which::Statement(statement)) => self.job_statement(from, statement?)?,
            (Role::Reader | Role::Runner, Which::Finished(finished)) => {
                self.job_finished(from, role, finished?);
            }
            (Role::Export, Which::Fault(fault)) => {
                let fault = fault?;
                if self.runs_in(from, fault.get_instance()) {
                    self.live_fault(fault.get_instance(), &text(fault.get_what())?);
                }
            }
            (Role::Export, Which::Usage(usage)) => {
                let usage = usage?;
                self.take_usage(from, usage);
            }
            _ => {
                return Err(capnp::Error::failed(
                    "a message that this role never sends".into(),
                ));
            }
        }
        Ok(())
    }

    fn role_ready(&mut self, id: ChildId, sandbox: &str) {
        let Some(child) = self.children.get_mut(id) else {
            return;
        };
        child.ready = true;
        child.sandbox = sandbox.to_owned();
        let (role, purpose) = (child.role, child.purpose.clone());
        self.roles.ready_once.insert(role.name());
        self.roles.failures.remove(role.name());
        tracing::info!(
            role = role.name(),
            pid = child.pid,
            "ready, confined by {sandbox}"
        );
        self.connect(id);
        if let Purpose::Export(key) = purpose {
            self.start_instances(id, &key);
        }
    }

    fn role_failed(&mut self, id: ChildId, role: Role, what: String, lasting: bool) {
        let Some(child) = self.children.get(id) else {
            return;
        };
        tracing::error!(role = role.name(), "{what}");
        let core = child.purpose == Purpose::Core;
        match child.purpose.clone() {
            Purpose::Job(job) => self.job_failed(&job, role, &what),
            _ => {
                let first_start = !self.roles.ready_once.contains(role.name());
                if core && (first_start || lasting) {
                    self.failure.get_or_insert_with(|| what.clone());
                }
                self.roles.failures.insert(role.name(), what);
                if core && lasting {
                    // Better to stop and say why than to start it again for ever.
                    self.stop_all();
                }
            }
        }
    }

    fn certify(&mut self, from: ChildId, key: [u8; 32]) -> capnp::Result<()> {
        let key = VerifyingKey::from_bytes(&key).map_err(|e| capnp::Error::failed(e.to_string()))?;
        let now = now_ns();
        let certificate = Certificate::issue(
            &self.keyring.node_signing,
            key,
            RunKey::ROLE,
            now.saturating_sub(CLOCK_SLACK_NS),
            now + RUN_CERTIFICATE_NS,
        );
        self.children.send(
            from,
            down(|mut down| down.set_certificate(&certificate.to_bytes())),
        );
        Ok(())
    }

    fn capture_report(&mut self, report: wire::capture_report::Reader<'_>) -> capnp::Result<()> {
        let warning = text(report.get_warning())?;
        if !warning.is_empty() && warning != self.roles.capture.warning {
            tracing::warn!("capture: {warning}");
        }
        self.roles.capture = CaptureState {
            packets: report.get_packets(),
            bytes: report.get_bytes(),
            lost: report.get_lost(),
            shed: report.get_shed(),
            poisoned: report.get_poisoned(),
            now_ns: report.get_now_ns(),
            acknowledged: report.get_acked(),
            source_done: report.get_source_done(),
            offset: report.get_offset(),
            out_of_order: report.get_out_of_order(),
            sealed_bytes: report.get_sealed_bytes(),
            denied: report.get_denied(),
            losses: losses(report.get_losses()?)?,
            views: AccessLevel::ALL
                .into_iter()
                .zip(report.get_views()?.iter())
                .collect(),
            views_sent: report.get_views_sent(),
            sampled: report.get_sampled(),
            pressure: report.get_pressure(),
            warning,
        };
        self.pace_readers();
        self.import_reported();
        self.catalog.now_ns = self.catalog.now_ns.max(report.get_now_ns());
        Ok(())
    }

    fn segment_state(&mut self, state: wire::segment_state::Reader<'_>) -> capnp::Result<()> {
        let segment = Segment {
            file: file_name(state.get_file())?,
            end: match state.get_sealed() {
                0 => SegmentEnd::Open,
                1 => SegmentEnd::Sealed,
                _ => SegmentEnd::Unsealed,
            },
            sealing_epoch: state.get_sealing_epoch(),
            mapping_epoch: state.get_mapping_epoch(),
            first_ns: state.get_first_ns(),
            last_ns: (state.get_last_ns() != 0).then(|| state.get_last_ns()),
            packets: state.get_packets(),
            bytes: state.get_bytes(),
            captured_bytes: state.get_captured_bytes(),
            section_bytes: state
                .get_section_bytes()
                .map(|sections| std::array::from_fn(|at| sections.try_get(at as u32)))?,
            lost: state.get_lost(),
        };
        self.catalog.put_segment(array(state.get_segment()?)?, segment);
        Ok(())
    }

    fn record_state(&mut self, state: wire::record_state::Reader<'_>) -> capnp::Result<()> {
        let header = records::Header::from_message(state.get_header()?)
            .map_err(|e| capnp::Error::failed(e.to_string()))?;
        if let Ok(window) = Window::new(state.get_from_ns(), state.get_to_ns()) {
            let coverage = Coverage {
                file: file_name(state.get_file())?,
                window,
                one_in: state.get_one_in().max(1),
            };
            self.catalog
                .put_records(MetricKey(header.metric), coverage, state.get_new_hole());
        }
        Ok(())
    }

    fn storage_report(&mut self, report: wire::storage_report::Reader<'_>) -> capnp::Result<()> {
        let state = StorageState {
            segments: report.get_segments(),
            bytes: report.get_bytes(),
            free_bytes: report.get_free_bytes(),
            disk_full: report.get_disk_full(),
            duplicates: report.get_duplicates(),
            torn_bytes: report.get_torn_bytes(),
            record_files: report.get_record_files(),
            record_bytes: report.get_record_bytes(),
            blocks: report.get_blocks(),
            stored_bytes: report.get_stored_bytes(),
            warning: text(report.get_warning())?,
        };
        if state.disk_full && !self.roles.storage.disk_full {
            tracing::error!("the disk is full: capture waits or drops until there is room");
        }
        self.roles.storage = state;
        // All that it found stands before its first report.
        if !std::mem::replace(&mut self.roles.records_known, true) {
            self.start_waiting_instances();
        }
        Ok(())
    }
}

/// Losses by the causes that there are: a name of capture's own making would be a message to the outside.
fn losses(list: capnp::struct_list::Reader<'_, wire::loss::Owned>) -> capnp::Result<BTreeMap<String, u64>> {
    let mut losses = BTreeMap::new();
    for loss in list {
        let cause = text(loss.get_cause())?;
        if !GapCause::ALL.iter().any(|known| known.as_str() == cause) {
            return Err(capnp::Error::failed("a loss of unknown cause".into()));
        }
        losses.insert(cause, loss.get_count());
    }
    Ok(losses)
}

/// A file of storage's own folder: readers are sent to it, so it must not lead elsewhere.
fn file_name(field: capnp::Result<capnp::text::Reader<'_>>) -> capnp::Result<String> {
    let name = text(field)?;
    if name.is_empty() || name.starts_with('.') || name.contains('/') {
        return Err(capnp::Error::failed("a file name that leads elsewhere".into()));
    }
    Ok(name)
}
