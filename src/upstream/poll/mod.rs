//! Answers of the application that pages ask for again and again: asked for once an interval for all of them.

mod answer;
mod patch;
mod run;

pub(super) use crate::upstream::poll::run::hold;
