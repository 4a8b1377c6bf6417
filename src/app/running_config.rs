//! The configuration that is in force, for those that need to know it later.

use std::sync::Arc;

use crate::config::CheckedConfig;
use crate::lock::Mutex;

/// Cloning shares.
#[derive(Clone)]
pub(super) struct RunningConfig(Arc<Mutex<Arc<CheckedConfig>>>);

impl RunningConfig {
    pub(super) fn new(first: CheckedConfig) -> Self {
        Self(Arc::new(Mutex::new(Arc::new(first))))
    }

    pub(super) fn get(&self) -> Arc<CheckedConfig> {
        Arc::clone(&self.0.lock())
    }

    pub(super) fn set(&self, next: CheckedConfig) {
        *self.0.lock() = Arc::new(next);
    }
}
