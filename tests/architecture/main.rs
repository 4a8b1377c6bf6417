//! The rules of the house, held against the sources.

mod built;
mod circles;
mod doors;
mod lengths;
mod logged;
mod names;
mod places;
mod ranks;
mod sources;
mod waits;
