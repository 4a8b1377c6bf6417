//! Opening, resuming and ending a stream; what stands on the wire.
