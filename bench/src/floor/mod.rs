//! The floor: what the kernel itself costs, with as little around it as there can be.

mod backend;
mod bare;
mod connections;

pub(crate) use backend::backend;
pub(crate) use bare::bare;
