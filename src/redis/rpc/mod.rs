//! RpcServer of a backend over Redis lists.

pub(super) mod codec;
pub(super) mod replies;
pub(super) mod server;
