//! Writes entries of the registry: a new file beside, renamed over, so that a reader never sees half.

use super::entries::{Authority, Developer, Endorsement, Partner, RegistryName};
use super::load::RegistryError;
use crate::config::Layout;

/// Writes a partner.
pub fn save_partner(_layout: &Layout, _name: &RegistryName, _partner: &Partner) -> Result<(), RegistryError> {
    todo!()
}
/// Writes a developer.
pub fn save_developer(
    _layout: &Layout,
    _name: &RegistryName,
    _developer: &Developer,
) -> Result<(), RegistryError> {
    todo!()
}
/// Writes an endorsement.
pub fn save_endorsement(
    _layout: &Layout,
    _name: &RegistryName,
    _e: &Endorsement,
) -> Result<(), RegistryError> {
    todo!()
}
/// Writes an authority.
pub fn save_authority(
    _layout: &Layout,
    _name: &RegistryName,
    _authority: &Authority,
) -> Result<(), RegistryError> {
    todo!()
}
