//! What the dashboard is drawn from.

use std::sync::Arc;

use crate::auth::{Gates, Publisher};
use crate::config;
use crate::dashboard::{Board, DashboardKeys};

/// All that the dashboard needs beside the listener's own parts.
pub struct Dashboard {
    pub keys: DashboardKeys,
    pub board: Arc<Board>,
    pub gates: Arc<Gates>,
    pub streams: Vec<config::Stream>,
    pub jwt: Option<config::Jwt>,
    pub in_force: Vec<config::SettingInForce>,
    /// What is published from the page.
    pub publisher: Arc<Publisher>,
}
