//! Certificates: which of them have keys, and who uses them.

use super::FabricState;
use crate::{Document, Violation};

/// A certificate without a key has one already, which fits.
pub(super) fn check_keys(
    state: &FabricState,
    document: &Document,
    violations: &mut Vec<Violation>,
) {
    for (i, certificate) in &document.certificates {
        if certificate.key.is_some() {
            continue;
        }
        let stored = state.certificates.get(&certificate.name);
        let key = stored.and_then(|stored| stored.certificate.key.as_ref());
        let reason = match key {
            Some(key) if certificate.fits(key) => continue,
            Some(_) => "the key that the fabric has is another certificate's: give this one's",
            None => "required: the certificate's private key",
        };
        violations.push(Violation::new(format!("certificates[{i}].key"), reason));
    }
}
