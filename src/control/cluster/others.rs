//! All of the cluster that a part of this room may need.

use std::sync::Arc;

use crate::control::cluster::members::Instances;
use crate::control::cluster::survey::Surveys;
use crate::control::presence::Presence;

/// The other instances, how they are asked, and who is on them.
#[derive(Clone)]
pub struct Cluster {
    pub instances: Arc<Instances>,
    pub surveys: Arc<Surveys>,
    pub presence: Arc<Presence>,
}
