//! Publish keys that are made on the spot, for a daemon that was given none.

use crate::config::Secret;

/// A key of 160 random bits, in letters and digits that no shell minds.
pub(super) fn random() -> Secret {
    let mut bytes = [0; 20];
    getrandom::fill(&mut bytes).expect("the system gives random bytes");
    Secret::new(bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>())
}
